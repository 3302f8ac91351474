package server

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

const passwordMethod = "/password"

// callFrom makes a call for a browser at an address. Its error arrives once it is
// over; when it runs, running receives its address, and it ends when it can send
// its address to end.
func callFrom(ctx context.Context, s *Server, method, address string, running, end chan string) <-chan error {
	over := make(chan error, 1)
	ctx = metadata.NewIncomingContext(as(ctx, transport.WebTier), metadata.Pairs(transport.ClientAddressKey, address))
	go func() {
		_, err := s.admitUnary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			running <- address
			end <- address
			return nil, nil
		})
		over <- err
	}()
	return over
}

// queued waits until an address has a number of calls waiting.
func queued(t *testing.T, s *Server, address string, calls int) {
	t.Helper()
	for {
		s.passwords.mu.Lock()
		n := len(s.passwords.waiting[address])
		s.passwords.mu.Unlock()
		if n == calls {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("%s has %d calls waiting, want %d", address, n, calls)
		}
		runtime.Gosched()
	}
}

func withPasswords(running, places int) *Server {
	s := bounded(2)
	s.passwords = newPasswordQueue(running, places)
	s.rules[passwordMethod] = rule{programs: []string{transport.WebTier}, password: true}
	return s
}

func TestPasswordCallsHoldNoSlotOfOtherCalls(t *testing.T) {
	t.Parallel()
	s := withPasswords(1, 16)
	running, end := make(chan string, 16), make(chan string)
	var all []<-chan error
	for range 8 {
		all = append(all, callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end))
	}
	queued(t, s, "192.0.2.66", 7)
	if err := <-callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end); !errors.Is(err, errFull) {
		t.Errorf("the address has half of the queue, and gets %v", err)
	}
	for range 2 {
		c, err := begin(t, s, transport.WebTier, readMethod, "")
		if err != nil {
			t.Fatalf("while passwords are hashed, reading gets %v", err)
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
}

func TestPasswordQueueTakesAddressesInTurn(t *testing.T) {
	t.Parallel()
	s := withPasswords(1, 64)
	running, end := make(chan string, 64), make(chan string)
	for range 5 {
		callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end)
	}
	queued(t, s, "192.0.2.66", 4)
	callFrom(t.Context(), s, passwordMethod, "192.0.2.77", running, end)
	queued(t, s, "192.0.2.77", 1)
	var order []string
	for range 6 {
		order = append(order, <-running)
		<-end
	}
	if i := slices.Index(order, "192.0.2.77"); i != 1 && i != 2 {
		t.Errorf("somebody else is served after %d calls of the busy address", i)
	}
}

func TestPasswordCallThatGivesUpLeavesTheQueue(t *testing.T) {
	t.Parallel()
	s := withPasswords(1, 16)
	running, end := make(chan string, 16), make(chan string)
	first := callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end)
	<-running
	ctx, leave := context.WithCancel(t.Context())
	second := callFrom(ctx, s, passwordMethod, "192.0.2.66", running, end)
	queued(t, s, "192.0.2.66", 1)
	third := callFrom(t.Context(), s, passwordMethod, "192.0.2.77", running, end)
	queued(t, s, "192.0.2.77", 1)
	leave()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the call that gave up got %v", err)
	}
	for _, over := range []<-chan error{first, third} {
		<-end
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	if q := s.passwords; q.idle != 1 || len(q.turns) != 0 || len(q.waiting) != 0 {
		t.Errorf("the queue is left with %d idle, turns %v, waiting %v", q.idle, q.turns, q.waiting)
	}
}

func TestRequestsWithPasswordAreRecognised(t *testing.T) {
	t.Parallel()
	service := accountspb.Accounts_ServiceDesc
	var info grpc.ServiceInfo
	for _, m := range service.Methods {
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	found, err := rules(map[string]grpc.ServiceInfo{service.ServiceName: info})
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]bool{
		accountspb.Accounts_SignUp_FullMethodName:            true,
		accountspb.Accounts_SignIn_FullMethodName:            true,
		accountspb.Accounts_SignOut_FullMethodName:           false,
		accountspb.Accounts_GetCurrentAccount_FullMethodName: false,
		accountspb.Accounts_VerifySession_FullMethodName:     false,
	} {
		if found[method].password != want {
			t.Errorf("%s hashes a password: %t, want %t", method, !want, want)
		}
	}
}
