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

// bounded is a server with room for so many calls of strangers, no more and no fewer.
func bounded(calls uint) *Server {
	return &Server{
		room: newRoom(calls, calls, prometheus.NewRegistry()),
		rules: map[string]rule{
			readMethod:   {programs: []string{transport.WebTier, transport.Operator}, reads: true},
			changeMethod: {programs: []string{transport.WebTier, transport.Operator}},
		},
		sessions: everybody{}, changes: transport.NewShares(1000),
	}
}

// everybody takes every session for somebody's.
type everybody struct{ accountspb.AccountsClient }

func (everybody) VerifySession(context.Context, *accountspb.VerifySessionRequest, ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: 1, Handle: "ada"}}, nil
}

// call is one under way.
type call struct {
	end  chan struct{}
	over chan error
}

// as returns the context of a call that a program makes.
func as(ctx context.Context, program string) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{
		VerifiedChains: [][]*x509.Certificate{{{URIs: []*url.URL{transport.ID(program)}}}},
	}}, Addr: nowhere{}})
}

// begin makes a call and returns it once it is inside, or the error it is answered.
func begin(t *testing.T, s *Server, program, method, session string) (call, error) {
	t.Helper()
	ctx := as(t.Context(), program)
	if session != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(transport.SessionKey, session))
	}
	c := call{make(chan struct{}), make(chan error, 1)}
	inside := make(chan struct{})
	go func() {
		_, err := s.admitUnary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			close(inside)
			<-c.end
			return nil, nil
		})
		c.over <- err
	}()
	select {
	case <-inside:
		return c, nil
	case err := <-c.over:
		return c, err
	}
}

type nowhere struct{}

func (nowhere) Network() string { return "test" }
func (nowhere) String() string  { return "nowhere" }

// At the bound a call is refused at once, having done nothing, and is told when to try
// again; below it again, the next is let in.
func TestNoMoreCallsThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	s := bounded(2)
	var inside []call
	for range 2 {
		c, err := begin(t, s, transport.WebTier, changeMethod, "ada's")
		if err != nil {
			t.Fatal(err)
		}
		inside = append(inside, c)
	}
	_, err := begin(t, s, transport.WebTier, changeMethod, "ada's")
	refused := status.Convert(toStatus(err))
	if !errors.Is(err, errFull) || refused.Code() != codes.ResourceExhausted {
		t.Errorf("it is answered %v", err)
	}
	var again time.Duration
	for _, detail := range refused.Details() {
		if retry, is := detail.(*errdetails.RetryInfo); is {
			again = retry.RetryDelay.AsDuration()
		}
	}
	if again < retryWhenFull || again > 3*retryWhenFull {
		t.Errorf("it may try again in %s", again)
	}
	for _, c := range inside {
		close(c.end)
		if err := <-c.over; err != nil {
			t.Error(err)
		}
	}
	c, err := begin(t, s, transport.WebTier, changeMethod, "ada's")
	if err != nil {
		t.Errorf("with room again: %v", err)
	}
	close(c.end)
}

// Who is refused first: work that nobody waits for, then what anybody reads, then what
// somebody signed in reads, and what changes something, or the operator asks, last.
func TestWhoIsRefusedFirst(t *testing.T) {
	t.Parallel()
	s := bounded(15) // and 5 beyond
	fill := func(until int) {
		t.Helper()
		for s.room.underWay() < until {
			c, err := begin(t, s, transport.WebTier, changeMethod, "ada's")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { close(c.end) })
		}
	}
	gets := func(program, method, session string) bool {
		t.Helper()
		c, err := begin(t, s, program, method, session)
		if err == nil {
			close(c.end)
			err = <-c.over
		}
		if err != nil && !errors.Is(err, errFull) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, step := range []struct {
		under                                  int
		pressed, public, personal, change, ask bool
	}{
		{0, false, true, true, true, true},
		{9, false, true, true, true, true},
		{10, true, true, true, true, true},
		{15, true, false, true, true, true},
		{18, true, false, false, true, true},
		{20, true, false, false, false, false},
	} {
		fill(step.under)
		if got := s.Pressed(); got != step.pressed {
			t.Errorf("with %d under way, work in the background pauses: %t", step.under, got)
		}
		for _, ask := range []struct {
			what, program, method, session string
			want                           bool
		}{
			{"anybody reads", transport.WebTier, readMethod, "", step.public},
			{"ada reads", transport.WebTier, readMethod, "ada's", step.personal},
			{"ada changes", transport.WebTier, changeMethod, "ada's", step.change},
			{"the operator reads", transport.Operator, readMethod, "", step.ask},
		} {
			if got := gets(ask.program, ask.method, ask.session); got != ask.want {
				t.Errorf("with %d under way, %s: %t", step.under, ask.what, got)
			}
		}
	}
}

// Changes that wait for each other, as those of one row do, hold a part of the slots, and
// those of one address half of that part.
func TestChangesLeaveSlotsForOthers(t *testing.T) {
	t.Parallel()
	s := bounded(12)
	s.changes = transport.NewShares(8)
	running, end := make(chan string, 12), make(chan string)
	var all []<-chan error
	change := func(address string, calls int) {
		for range calls {
			all = append(all, callFrom(t.Context(), s, changeMethod, address, running, end))
			<-running
		}
		if err := <-callFrom(t.Context(), s, changeMethod, address, running, end); !errors.Is(err, errFull) {
			t.Errorf("after %d changes, one more from %s gets %v", calls, address, err)
		}
	}
	change("192.0.2.66", 4)
	change("192.0.2.67", 2)
	change("192.0.2.68", 1)
	for range 5 {
		c, err := begin(t, s, transport.WebTier, readMethod, "")
		if err != nil {
			t.Fatalf("reading gets %v", err)
		}
		defer close(c.end)
	}
	for range all {
		<-end
	}
	for _, over := range all {
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	if !s.changes.Acquire("192.0.2.66") || s.room.underWay() != 5 {
		t.Errorf("%d calls are under way, want the 5 that read", s.room.underWay())
	}
}
