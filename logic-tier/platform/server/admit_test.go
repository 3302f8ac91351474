package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

const (
	readMethod   = "/read"
	changeMethod = "/change"
)

// newLimitedServer returns a server with a fixed limit of concurrent calls.
func newLimitedServer(calls uint) *Server {
	return &Server{
		admission: newAdmission(calls, calls, prometheus.NewRegistry()),
		rules: map[string]rule{
			readMethod:   {programs: []string{transport.WebTier, transport.Operator}, reads: true},
			changeMethod: {programs: []string{transport.WebTier, transport.Operator}},
		},
		sessions: anySession{}, changes: transport.NewShares(1000),
	}
}

// anySession accepts every session token as ada's.
type anySession struct{ accountspb.AccountsClient }

func (anySession) VerifySession(context.Context, *accountspb.VerifySessionRequest, ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: 1, Handle: "ada"}}, nil
}

// pendingCall is a call in flight. Closing end finishes it; done receives its error.
type pendingCall struct {
	end  chan struct{}
	done chan error
}

// withProgram returns the context of an incoming call from program.
func withProgram(ctx context.Context, program string) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{
		VerifiedChains: [][]*x509.Certificate{{{URIs: []*url.URL{transport.ID(program)}}}},
	}}, Addr: testAddr{}})
}

// startCall starts a call and returns it once its handler runs, or with the error that
// rejects it.
func startCall(t *testing.T, s *Server, program, method, session string) (pendingCall, error) {
	t.Helper()
	ctx := withProgram(t.Context(), program)
	if session != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(transport.SessionKey, session))
	}
	c := pendingCall{make(chan struct{}), make(chan error, 1)}
	admitted := make(chan struct{})
	go func() {
		_, err := s.admitUnary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			close(admitted)
			<-c.end
			return nil, nil
		})
		c.done <- err
	}()
	select {
	case <-admitted:
		return c, nil
	case err := <-c.done:
		return c, err
	}
}

type testAddr struct{}

func (testAddr) Network() string { return "test" }
func (testAddr) String() string  { return "test" }

// At the limit a call is rejected at once, with a retry delay. After a call has
// finished, the next one is admitted.
func TestAdmission_RejectsCallsBeyondLimit(t *testing.T) {
	t.Parallel()
	s := newLimitedServer(2)
	var admitted []pendingCall
	for range 2 {
		c, err := startCall(t, s, transport.WebTier, changeMethod, "ada's")
		if err != nil {
			t.Fatal(err)
		}
		admitted = append(admitted, c)
	}
	_, err := startCall(t, s, transport.WebTier, changeMethod, "ada's")
	rejected := status.Convert(toStatus(err))
	if !errors.Is(err, errBusy) || rejected.Code() != codes.ResourceExhausted {
		t.Errorf("call beyond the limit: got %v, want %v", err, errBusy)
	}
	var delay time.Duration
	for _, detail := range rejected.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			delay = retry.RetryDelay.AsDuration()
		}
	}
	if delay < busyRetryDelay || delay > 3*busyRetryDelay {
		t.Errorf("retry delay: got %s, want %s to %s", delay, busyRetryDelay, 3*busyRetryDelay)
	}
	for _, c := range admitted {
		close(c.end)
		if err := <-c.done; err != nil {
			t.Error(err)
		}
	}
	c, err := startCall(t, s, transport.WebTier, changeMethod, "ada's")
	if err != nil {
		t.Errorf("call after a slot became free: %v", err)
	}
	close(c.end)
}

// Under rising load, background work pauses first, then public reads are rejected, then
// reads with a session, and writes and the operator's calls last.
func TestAdmission_ShedsLowPriorityCallsFirst(t *testing.T) {
	t.Parallel()
	s := newLimitedServer(15) // and 5 reserved slots
	fill := func(calls int) {
		t.Helper()
		for s.admission.inFlight() < calls {
			c, err := startCall(t, s, transport.WebTier, changeMethod, "ada's")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { close(c.end) })
		}
	}
	admitted := func(program, method, session string) bool {
		t.Helper()
		c, err := startCall(t, s, program, method, session)
		if err == nil {
			close(c.end)
			err = <-c.done
		}
		if err != nil && !errors.Is(err, errBusy) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, step := range []struct {
		inFlight                                 int
		busy, public, personal, change, operator bool
	}{
		{0, false, true, true, true, true},
		{9, false, true, true, true, true},
		{10, true, true, true, true, true},
		{15, true, false, true, true, true},
		{18, true, false, false, true, true},
		{20, true, false, false, false, false},
	} {
		fill(step.inFlight)
		if got := s.Busy(); got != step.busy {
			t.Errorf("Busy with %d calls in flight: got %t, want %t", step.inFlight, got, step.busy)
		}
		for _, c := range []struct {
			name, program, method, session string
			want                           bool
		}{
			{"public read", transport.WebTier, readMethod, "", step.public},
			{"personal read", transport.WebTier, readMethod, "ada's", step.personal},
			{"write", transport.WebTier, changeMethod, "ada's", step.change},
			{"operator's read", transport.Operator, readMethod, "", step.operator},
		} {
			if got := admitted(c.program, c.method, c.session); got != c.want {
				t.Errorf("%s admitted with %d calls in flight: got %t, want %t", c.name, step.inFlight, got, c.want)
			}
		}
	}
}

// Writes hold at most a part of the slots, so that writes waiting for each other leave
// slots to reads. One address holds at most half of that part.
func TestAdmission_WritesLeaveSlotsForReads(t *testing.T) {
	t.Parallel()
	s := newLimitedServer(12)
	s.changes = transport.NewShares(8)
	running, end := make(chan string, 12), make(chan string)
	var writes []<-chan error
	change := func(address string, calls int) {
		for range calls {
			writes = append(writes, callFrom(t.Context(), s, changeMethod, address, running, end))
			<-running
		}
		if err := <-callFrom(t.Context(), s, changeMethod, address, running, end); !errors.Is(err, errBusy) {
			t.Errorf("write %d from %s: got %v, want %v", calls+1, address, err, errBusy)
		}
	}
	change("192.0.2.66", 4)
	change("192.0.2.67", 2)
	change("192.0.2.68", 1)
	for range 5 {
		c, err := startCall(t, s, transport.WebTier, readMethod, "")
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		defer close(c.end)
	}
	for range writes {
		<-end
	}
	for _, done := range writes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if !s.changes.Acquire("192.0.2.66") || s.admission.inFlight() != 5 {
		t.Errorf("calls in flight: got %d, want the 5 reads", s.admission.inFlight())
	}
}
