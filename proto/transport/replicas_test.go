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

// nameServer is a DNS server (RFC 1035) that answers every query with the same addresses.
type nameServer struct {
	mu        sync.Mutex
	addresses []netip.Addr // empty: NXDOMAIN
}

func (n *nameServer) set(addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = nil
	for _, a := range addresses {
		n.addresses = append(n.addresses, netip.MustParseAddr(a))
	}
}

// dns is the name server of net.DefaultResolver.
var dns = startNameServer()

func startNameServer() *nameServer {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	n := &nameServer{}
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

func (n *nameServer) answer(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	message.Response = true
	message.Additionals = nil
	if len(n.addresses) == 0 {
		message.RCode = dnsmessage.RCodeNameError
	}
	q := message.Questions[0]
	for _, address := range n.addresses {
		if q.Type == dnsmessage.TypeA {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return message.Pack()
}

// replica is one of several servers with the same port.
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

// freePort returns an unused port.
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

// awaitReached makes calls until exactly the addresses in want answer.
func awaitReached(t *testing.T, connection *grpc.ClientConn, want ...string) {
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
		match := len(seen) == len(want)
		for _, w := range want {
			match = match && seen[w] > 0
		}
		if match {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("got calls answered by %v, want %v", seen, want)
}

func TestDial_BalancesOverTheReplicasOfAName(t *testing.T) {
	port := freePort(t)
	first := startReplica(t, "127.0.0.2:"+port)
	second := startReplica(t, "127.0.0.3:"+port)
	dns.set("127.0.0.2")
	connection, err := Dial("dns:///logic.test:"+port, insecure.NewCredentials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	awaitReached(t, connection, "127.0.0.2")

	dns.set("127.0.0.2", "127.0.0.3") // scaled out
	awaitReached(t, connection, "127.0.0.2", "127.0.0.3")

	second.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING) // draining, or without its database
	awaitReached(t, connection, "127.0.0.2")
	second.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	awaitReached(t, connection, "127.0.0.2", "127.0.0.3")

	dns.set() // the name server fails; the replicas do not
	first.grpc.Stop()
	awaitReached(t, connection, "127.0.0.3")
	startReplica(t, "127.0.0.2:"+port)
	awaitReached(t, connection, "127.0.0.2", "127.0.0.3")

	dns.set("127.0.0.3") // scaled in
	awaitReached(t, connection, "127.0.0.3")
}

func TestDial_BalancesOverListedReplicas(t *testing.T) {
	port := freePort(t)
	startReplica(t, "127.0.0.2:"+port)
	startReplica(t, "127.0.0.3:"+port)
	connection, err := Dial("127.0.0.2:"+port+", 127.0.0.3:"+port, insecure.NewCredentials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	awaitReached(t, connection, "127.0.0.2", "127.0.0.3")
}

// A call to an unknown name fails at once. A later call succeeds once the name exists.
func TestDial_RecoversWhenANameAppears(t *testing.T) {
	dns.set()
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
	dns.set("127.0.0.2")
	awaitReached(t, connection, "127.0.0.2")
}

func TestDial_RejectsInvalidAddresses(t *testing.T) {
	for _, address := range []string{"", "logic", "logic:9090,", ":9090", "dns:///logic"} {
		if _, err := Dial(address, insecure.NewCredentials(), nil); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("%q: got %v, want an error with host:port", address, err)
		}
	}
}
