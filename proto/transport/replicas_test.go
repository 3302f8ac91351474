package transport

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// names is a name server (RFC 1035) that answers every question with the same
// addresses.
type names struct {
	mu sync.Mutex
	at []netip.Addr // none: the name is not there
}

func (n *names) are(addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = nil
	for _, a := range addresses {
		n.at = append(n.at, netip.MustParseAddr(a))
	}
}

// dns is the name server that this process asks.
var dns = serveNames()

func serveNames() *names {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	n := &names{}
	go func() {
		for buffer := make([]byte, 512); ; {
			size, from, err := socket.ReadFrom(buffer)
			if err != nil {
				panic(err)
			}
			if answer, err := n.answer(buffer[:size]); err == nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
	return n
}

func (n *names) answer(question []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(question); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	message.Response = true
	message.Additionals = nil
	if len(n.at) == 0 {
		message.RCode = dnsmessage.RCodeNameError
	}
	q := message.Questions[0]
	for _, address := range n.at {
		if q.Type == dnsmessage.TypeA {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return message.Pack()
}

// replica is one of several programs at the same port.
type replica struct {
	grpc   *grpc.Server
	health *health.Server
}

func startReplica(t *testing.T, address string) *replica {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{grpc: grpc.NewServer(), health: health.NewServer()}
	healthpb.RegisterHealthServer(r.grpc, r.health)
	go func() { _ = r.grpc.Serve(listener) }()
	t.Cleanup(r.grpc.Stop)
	return r
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// reached makes calls until those that answered are want and no others.
func reached(t *testing.T, connection *grpc.ClientConn, want ...string) {
	t.Helper()
	var seen map[string]int
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); {
		seen = map[string]int{}
		for range 4 * max(1, len(want)) {
			ctx, done := context.WithTimeout(t.Context(), patience)
			var p peer.Peer
			_, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&p))
			done()
			if err == nil {
				host, _, _ := net.SplitHostPort(p.Addr.String())
				seen[host]++
			}
		}
		all := len(seen) == len(want)
		for _, w := range want {
			all = all && seen[w] > 0
		}
		if all {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("calls reach %v, want %v", seen, want)
}

func TestReplicasAreFoundByNameAndSpreadOver(t *testing.T) {
	port := freePort(t)
	first := startReplica(t, "127.0.0.2:"+port)
	second := startReplica(t, "127.0.0.3:"+port)
	dns.are("127.0.0.2")
	connection, err := Dial("dns:///logic.test:"+port, insecure.NewCredentials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	reached(t, connection, "127.0.0.2")

	dns.are("127.0.0.2", "127.0.0.3") // scaled out
	reached(t, connection, "127.0.0.2", "127.0.0.3")

	second.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING) // about to stop, or without its database
	reached(t, connection, "127.0.0.2")
	second.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	reached(t, connection, "127.0.0.2", "127.0.0.3")

	dns.are() // who answers for names is away; the replicas are not
	first.grpc.Stop()
	reached(t, connection, "127.0.0.3")
	startReplica(t, "127.0.0.2:"+port)
	reached(t, connection, "127.0.0.2", "127.0.0.3")

	dns.are("127.0.0.3") // scaled in
	reached(t, connection, "127.0.0.3")
}

func TestReplicasAreNamedOneByOne(t *testing.T) {
	port := freePort(t)
	startReplica(t, "127.0.0.2:"+port)
	startReplica(t, "127.0.0.3:"+port)
	connection, err := Dial("127.0.0.2:"+port+", 127.0.0.3:"+port, insecure.NewCredentials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	reached(t, connection, "127.0.0.2", "127.0.0.3")
}

// Nobody answers to the name: the call says so at once, and a later one finds who
// came.
func TestANameThatIsNotThereYet(t *testing.T) {
	dns.are()
	port := freePort(t)
	startReplica(t, "127.0.0.2:"+port)
	connection, err := Dial("logic.test:"+port, insecure.NewCredentials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, err = healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "logic.test") {
		t.Errorf("got %v, want UNAVAILABLE that names logic.test", err)
	}
	dns.are("127.0.0.2")
	reached(t, connection, "127.0.0.2")
}

func TestAnAddressThatIsNone(t *testing.T) {
	for _, address := range []string{"", "logic", "logic:9090,", ":9090", "dns:///logic"} {
		if _, err := Dial(address, insecure.NewCredentials(), nil); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("%q: %v", address, err)
		}
	}
}
