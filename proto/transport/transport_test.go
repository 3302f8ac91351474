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

// server answers health checks, and records the caller and trace of the last one.
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

// seen returns the program that called last, and the trace of its call.
func (s *server) seen() (string, Trace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program, s.trace
}

// serve runs a server that authenticates as name.
func serve(t *testing.T, directory, name string) *server {
	t.Helper()
	creds, err := ServerCredentials(directory, name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{HealthServer: health.NewServer(), address: listener.Addr().String()}
	g := grpc.NewServer(grpc.Creds(creds))
	healthpb.RegisterHealthServer(g, s)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return s
}

// call makes a call over a new connection and returns the server's certificate.
func call(t *testing.T, address string, creds credentials.TransportCredentials, options ...grpc.DialOption) (*x509.Certificate, error) {
	t.Helper()
	return callWith(t.Context(), t, address, creds, options...)
}

func callWith(ctx context.Context, t *testing.T, address string, creds credentials.TransportCredentials, options ...grpc.DialOption) (*x509.Certificate, error) {
	t.Helper()
	connection, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	var p peer.Peer
	_, err = healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&p))
	if err != nil {
		return nil, err
	}
	return p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0], nil
}

func client(t *testing.T, directory, name, server string) credentials.TransportCredentials {
	t.Helper()
	creds, err := ClientCredentials(directory, name, server)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func TestMutualAuthentication(t *testing.T) {
	good, directory, foreign := newAuthority(t), t.TempDir(), t.TempDir()
	for _, name := range []string{WebTier, LogicTier} {
		good.issue(directory, name, ID(name).String())
		newAuthority(t).issue(foreign, name, ID(name).String())
	}
	good.issue(directory, "nameless")
	good.issue(directory, "double", ID(WebTier).String(), ID(Operator).String())
	good.issue(directory, "elsewhere", "spiffe://elsewhere.example/web-tier")
	good.issue(directory, "page", "https://techtalks.example/web-tier")
	s := serve(t, directory, LogicTier)

	t.Run("accepts a known program", func(t *testing.T) {
		if _, err := call(t, s.address, client(t, directory, WebTier, LogicTier)); err != nil {
			t.Fatal(err)
		}
		if program, _ := s.seen(); program != WebTier {
			t.Errorf("got program %q, want %q", program, WebTier)
		}
	})
	authority := x509.NewCertPool()
	authority.AddCert(good.certificate)
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "web-tier.crt"), filepath.Join(directory, "web-tier.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, creds := range map[string]credentials.TransportCredentials{
		"without TLS":                  insecure.NewCredentials(),
		"without a certificate":        credentials.NewTLS(&tls.Config{RootCAs: authority, ServerName: LogicTier}),
		"TLS 1.2":                      credentials.NewTLS(&tls.Config{RootCAs: authority, ServerName: LogicTier, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}), //nolint:gosec // the server must reject it
		"signed by another authority":  client(t, foreign, WebTier, LogicTier),
		"certificate without a name":   client(t, directory, "nameless", LogicTier),
		"certificate with two names":   client(t, directory, "double", LogicTier),
		"another trust domain":         client(t, directory, "elsewhere", LogicTier),
		"name that is not a SPIFFE ID": client(t, directory, "page", LogicTier),
	} {
		t.Run("rejects "+name, func(t *testing.T) {
			if _, err := call(t, s.address, creds); err == nil {
				t.Error("got the call accepted, want it rejected")
			}
		})
	}
	t.Run("client rejects another program", func(t *testing.T) {
		other := serve(t, directory, WebTier)
		if _, err := call(t, other.address, client(t, directory, WebTier, LogicTier)); err == nil {
			t.Error("got a call to the web tier as the logic tier accepted, want an error")
		}
	})
}

func TestPeerProgram_RequiresMTLS(t *testing.T) {
	if name, ok := PeerProgram(t.Context()); ok {
		t.Errorf("without a peer: got %q, want none", name)
	}
	unverified := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	if name, ok := PeerProgram(unverified); ok {
		t.Errorf("without verified chains: got %q, want none", name)
	}
}

func TestServerCredentials_NamesTheInvalidFile(t *testing.T) {
	_, err := ServerCredentials(t.TempDir(), LogicTier)
	if err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("got %v, want an error with ca.crt", err)
	}
	directory := t.TempDir()
	newAuthority(t).issue(directory, LogicTier, ID(LogicTier).String())
	if err := os.WriteFile(filepath.Join(directory, "ca.crt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ServerCredentials(directory, LogicTier); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("got %v, want an error with ca.crt", err)
	}
}

// backdate sets the modification time of all files back, so that replacing them changes it.
func backdate(t *testing.T, directory string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		modified := time.Now().Add(-time.Minute)
		if err := os.Chtimes(filepath.Join(directory, entry.Name()), modified, modified); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCredentials_ReloadReplacedCertificates(t *testing.T) {
	a, directory := newAuthority(t), t.TempDir()
	a.issue(directory, LogicTier, ID(LogicTier).String())
	a.issue(directory, WebTier, ID(WebTier).String())
	backdate(t, directory)
	s, creds := serve(t, directory, LogicTier), client(t, directory, WebTier, LogicTier)
	first, err := call(t, s.address, creds)
	if err != nil {
		t.Fatal(err)
	}

	// The key of another pair: the last valid pair stays in use.
	other := t.TempDir()
	a.issue(other, LogicTier, ID(LogicTier).String())
	key, err := os.ReadFile(filepath.Join(other, "logic-tier.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "logic-tier.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := call(t, s.address, creds); err != nil || !got.Equal(first) {
		t.Errorf("key replaced: got error %v or another certificate, want the first", err)
	}

	// Everything is replaced, including the authority: both sides reload.
	b := newAuthority(t)
	b.issue(directory, LogicTier, ID(LogicTier).String())
	b.issue(directory, WebTier, ID(WebTier).String())
	if got, err := call(t, s.address, creds); err != nil || got.Equal(first) {
		t.Errorf("everything replaced: got error %v or the first certificate, want a new one", err)
	}
}

func TestTraceIsPropagated(t *testing.T) {
	a, directory := newAuthority(t), t.TempDir()
	a.issue(directory, LogicTier, ID(LogicTier).String())
	a.issue(directory, WebTier, ID(WebTier).String())
	s := serve(t, directory, LogicTier)
	sent := NewTrace()
	_, err := callWith(WithTrace(t.Context(), sent), t, s.address, client(t, directory, WebTier, LogicTier), grpc.WithUnaryInterceptor(TraceUnaryClient))
	if err != nil {
		t.Fatal(err)
	}
	if _, got := s.seen(); got.ID() != sent.ID() || got == sent {
		t.Errorf("got trace %v, want a child of %v", got, sent)
	}
	if _, err := call(t, s.address, client(t, directory, WebTier, LogicTier)); err != nil {
		t.Fatal(err)
	}
	if _, got := s.seen(); got.ID() == sent.ID() {
		t.Error("got the trace of the previous call for a call without one, want a new trace")
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
			t.Errorf("%q: got %v, want %v", text, got, ok)
		}
		if ok && trace.ID() != id {
			t.Errorf("%q: got trace ID %s, want %s", text, trace.ID(), id)
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
		reparsed, ok := ParseTrace(trace.String())
		if !ok || reparsed != trace || !strings.Contains(text, trace.ID()) {
			t.Errorf("%q: got %q after a round trip", text, trace)
		}
	})
}

func TestTimingFromTrailer(t *testing.T) {
	sent := Timing{LogicHost: "logic", DataHost: "data", Logic: 1500 * time.Microsecond, Data: 300 * time.Microsecond}
	if got, ok := TimingFromTrailer(sent.Trailer()); !ok || got != sent {
		t.Errorf("got %+v, want %+v", got, sent)
	}
	for _, text := range []string{"", "soon", "1", "1 2", "1 2 logic", "1 soon logic data", "soon 2 logic data"} {
		if got, ok := TimingFromTrailer(metadata.Pairs(timingKey, text)); ok {
			t.Errorf("%q: got %+v, want false", text, got)
		}
	}
	// The data tier's host is unknown until it was first reached.
	unnamed := Timing{LogicHost: "logic", Logic: time.Millisecond}
	if got, ok := TimingFromTrailer(unnamed.Trailer()); !ok || got != unnamed {
		t.Errorf("got %+v, want %+v", got, unnamed)
	}
	if _, ok := TimingFromTrailer(nil); ok {
		t.Error("nil trailer: got true, want false")
	}
}
