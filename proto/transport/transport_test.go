package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// patience bounds every call and every wait.
const patience = time.Minute

// server answers health checks, and keeps what it saw of the last one.
type server struct {
	healthpb.HealthServer
	address string

	mu      sync.Mutex
	program string
	trace   Trace
}

func (s *server) Check(ctx context.Context, request *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.mu.Lock()
	s.program, _ = PeerProgram(ctx)
	s.trace = ReceiveTrace(ctx)
	s.mu.Unlock()
	return s.HealthServer.Check(ctx, request)
}

// seen returns the program that called last, and its trace.
func (s *server) seen() (string, Trace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program, s.trace
}

// serve runs a server that proves to be name.
func serve(t *testing.T, directory, name string) *server {
	t.Helper()
	own, err := ServerCredentials(directory, name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{HealthServer: health.NewServer(), address: listener.Addr().String()}
	g := grpc.NewServer(grpc.Creds(own))
	healthpb.RegisterHealthServer(g, s)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return s
}

// call makes a call over a connection of its own and returns whom it reached.
func call(t *testing.T, address string, own credentials.TransportCredentials, options ...grpc.DialOption) (*x509.Certificate, error) {
	t.Helper()
	return callWith(t.Context(), t, address, own, options...)
}

func callWith(ctx context.Context, t *testing.T, address string, own credentials.TransportCredentials, options ...grpc.DialOption) (*x509.Certificate, error) {
	t.Helper()
	connection, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(own))...)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	var reached peer.Peer
	_, err = healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&reached))
	if err != nil {
		return nil, err
	}
	return reached.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0], nil
}

func client(t *testing.T, directory, name, server string) credentials.TransportCredentials {
	t.Helper()
	own, err := ClientCredentials(directory, name, server)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

func TestPrograms(t *testing.T) {
	good, directory, foreign := newAuthority(t), t.TempDir(), t.TempDir()
	for _, name := range []string{WebTier, LogicTier} {
		good.give(directory, name, ID(name).String())
		newAuthority(t).give(foreign, name, ID(name).String())
	}
	good.give(directory, "nameless")
	good.give(directory, "double", ID(WebTier).String(), ID(Operator).String())
	good.give(directory, "elsewhere", "spiffe://elsewhere.example/web-tier")
	good.give(directory, "page", "https://techtalks.example/web-tier")
	s := serve(t, directory, LogicTier)

	t.Run("know each other", func(t *testing.T) {
		if _, err := call(t, s.address, client(t, directory, WebTier, LogicTier)); err != nil {
			t.Fatal(err)
		}
		if program, _ := s.seen(); program != WebTier {
			t.Errorf("the server takes the web tier for %q", program)
		}
	})
	authority := x509.NewCertPool()
	authority.AddCert(good.certificate)
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "web-tier.crt"), filepath.Join(directory, "web-tier.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]credentials.TransportCredentials{
		"without TLS":                     insecure.NewCredentials(),
		"without a certificate":           credentials.NewTLS(&tls.Config{RootCAs: authority, ServerName: LogicTier}),
		"over TLS 1.2":                    credentials.NewTLS(&tls.Config{RootCAs: authority, ServerName: LogicTier, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}), //nolint:gosec // refused, that is the test
		"by another authority":            client(t, foreign, WebTier, LogicTier),
		"by a certificate without a name": client(t, directory, "nameless", LogicTier),
		"by a certificate of two names":   client(t, directory, "double", LogicTier),
		"of another trust domain":         client(t, directory, "elsewhere", LogicTier),
		"by a name that is no SPIFFE ID":  client(t, directory, "page", LogicTier),
	} {
		t.Run("stay out "+name, func(t *testing.T) {
			if _, err := call(t, s.address, own); err == nil {
				t.Error("it came in")
			}
		})
	}
	t.Run("speak to no other than they mean", func(t *testing.T) {
		other := serve(t, directory, WebTier)
		if _, err := call(t, other.address, client(t, directory, WebTier, LogicTier)); err == nil {
			t.Error("it spoke to the web tier for the logic tier")
		}
	})
}

func TestPeerProgramNeedsMTLS(t *testing.T) {
	if name, ok := PeerProgram(t.Context()); ok {
		t.Errorf("nobody calls, and it is %q", name)
	}
	plain := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	if name, ok := PeerProgram(plain); ok {
		t.Errorf("the peer proved nothing, and it is %q", name)
	}
}

func TestMissingCertificatesAreNamed(t *testing.T) {
	_, err := ServerCredentials(t.TempDir(), LogicTier)
	if err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("got %v", err)
	}
	directory := t.TempDir()
	newAuthority(t).give(directory, LogicTier, ID(LogicTier).String())
	if err := os.WriteFile(filepath.Join(directory, "ca.crt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ServerCredentials(directory, LogicTier); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("got %v", err)
	}
}

// age makes sure that what is written next has another time than what was.
func age(t *testing.T, directory string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		before := time.Now().Add(-time.Minute)
		if err := os.Chtimes(filepath.Join(directory, entry.Name()), before, before); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReplacedCertificateIsUsedWithoutARestart(t *testing.T) {
	a, directory := newAuthority(t), t.TempDir()
	a.give(directory, LogicTier, ID(LogicTier).String())
	a.give(directory, WebTier, ID(WebTier).String())
	age(t, directory)
	s, own := serve(t, directory, LogicTier), client(t, directory, WebTier, LogicTier)
	first, err := call(t, s.address, own)
	if err != nil {
		t.Fatal(err)
	}

	// Half replaced: the key of another pair. The last good pair serves.
	aside := t.TempDir()
	a.give(aside, LogicTier, ID(LogicTier).String())
	key, err := os.ReadFile(filepath.Join(aside, "logic-tier.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "logic-tier.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := call(t, s.address, own); err != nil || !got.Equal(first) {
		t.Errorf("half replaced: %v", err)
	}

	// Everything is replaced, the authority too: both sides go along.
	other := newAuthority(t)
	other.give(directory, LogicTier, ID(LogicTier).String())
	other.give(directory, WebTier, ID(WebTier).String())
	if got, err := call(t, s.address, own); err != nil || got.Equal(first) {
		t.Errorf("all replaced: %v", err)
	}
}

func TestATraceGoesAlong(t *testing.T) {
	a, directory := newAuthority(t), t.TempDir()
	a.give(directory, LogicTier, ID(LogicTier).String())
	a.give(directory, WebTier, ID(WebTier).String())
	s := serve(t, directory, LogicTier)
	sent := NewTrace()
	_, err := callWith(WithTrace(t.Context(), sent), t, s.address, client(t, directory, WebTier, LogicTier), grpc.WithUnaryInterceptor(TraceUnaryClient))
	if err != nil {
		t.Fatal(err)
	}
	if _, got := s.seen(); got.ID() != sent.ID() || got == sent {
		t.Errorf("sent %v, received %v: want another part of the same", sent, got)
	}
	if _, err := call(t, s.address, client(t, directory, WebTier, LogicTier)); err != nil {
		t.Fatal(err)
	}
	if _, got := s.seen(); got.ID() == sent.ID() {
		t.Error("a call without a trace got that of the one before")
	}
}

func TestParseTrace(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for text, ok := range map[string]bool{
		"00-" + id + "-" + span + "-01":                      true,
		"00-" + id + "-" + span + "-00":                      true,
		"cc-" + id + "-" + span + "-01":                      true,
		"cc-" + id + "-" + span + "-01-more":                 true,
		"00-" + id + "-" + span + "-01-more":                 false,
		"cc-" + id + "-" + span + "-01more":                  false,
		"ff-" + id + "-" + span + "-01":                      false,
		"00-" + id + "-" + span + "-0":                       false,
		"00-" + id + "-" + span + "-0g":                      false,
		"00_" + id + "-" + span + "-01":                      false,
		"":                                                   false,
		"00-" + strings.ToUpper(id) + "-" + span + "-01":     false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": false,
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":   false,
	} {
		trace, got := ParseTrace(text)
		if got != ok {
			t.Errorf("%q: %v", text, got)
		}
		if ok && trace.ID() != id {
			t.Errorf("%q is of the trace %s", text, trace.ID())
		}
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add(NewTrace().String())
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")
	f.Fuzz(func(t *testing.T, text string) {
		trace, ok := ParseTrace(text)
		if !ok {
			return
		}
		again, ok := ParseTrace(trace.String())
		if !ok || again != trace || !strings.Contains(text, trace.ID()) {
			t.Errorf("%q became %q", text, trace)
		}
	})
}

func TestTimingGoesBackInTheTrailer(t *testing.T) {
	sent := Timing{LogicHost: "logic", DataHost: "data", Logic: 1500 * time.Microsecond, Data: 300 * time.Microsecond}
	if got, ok := TimingFromTrailer(sent.Trailer()); !ok || got != sent {
		t.Errorf("sent %+v, received %+v", sent, got)
	}
	for _, text := range []string{"", "soon", "1", "1 2", "1 2 logic", "1 soon logic data", "soon 2 logic data"} {
		if got, ok := TimingFromTrailer(metadata.Pairs(timingKey, text)); ok {
			t.Errorf("%q was read: %+v", text, got)
		}
	}
	// Before the data tier was ever there it has no name.
	unnamed := Timing{LogicHost: "logic", Logic: time.Millisecond}
	if got, ok := TimingFromTrailer(unnamed.Trailer()); !ok || got != unnamed {
		t.Errorf("sent %+v, received %+v", unnamed, got)
	}
	if _, ok := TimingFromTrailer(nil); ok {
		t.Error("nothing was read")
	}
}
