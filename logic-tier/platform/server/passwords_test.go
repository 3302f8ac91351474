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

// callFrom starts a call for a browser at address. The call sends address to running when
// its handler starts, and returns once it has sent address to end. The returned channel
// receives its error.
func callFrom(ctx context.Context, s *Server, method, address string, running, end chan string) <-chan error {
	done := make(chan error, 1)
	ctx = metadata.NewIncomingContext(withProgram(ctx, transport.WebTier), metadata.Pairs(transport.ClientAddressKey, address))
	go func() {
		_, err := s.admitUnary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			running <- address
			end <- address
			return nil, nil
		})
		done <- err
	}()
	return done
}

// waitForQueued waits until address has the given number of calls queued.
func waitForQueued(t *testing.T, s *Server, address string, calls int) {
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

func newPasswordServer(concurrency, capacity int) *Server {
	s := newLimitedServer(2)
	s.passwords = newPasswordQueue(concurrency, capacity)
	s.rules[passwordMethod] = rule{programs: []string{transport.WebTier}, password: true}
	return s
}

func TestPasswordQueue_LeavesSlotsToOtherCalls(t *testing.T) {
	t.Parallel()
	s := newPasswordServer(1, 16)
	running, end := make(chan string, 16), make(chan string)
	var calls []<-chan error
	for range 8 {
		calls = append(calls, callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end))
	}
	waitForQueued(t, s, "192.0.2.66", 7)
	if err := <-callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end); !errors.Is(err, errBusy) {
		t.Errorf("call beyond the address's half of the queue: got %v, want %v", err, errBusy)
	}
	for range 2 {
		c, err := startCall(t, s, transport.WebTier, readMethod, "")
		if err != nil {
			t.Fatalf("read while passwords are hashed: %v", err)
		}
		defer close(c.end)
	}
	for range calls {
		<-end
	}
	for _, done := range calls {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestPasswordQueue_ServesAddressesInTurn(t *testing.T) {
	t.Parallel()
	s := newPasswordServer(1, 64)
	running, end := make(chan string, 64), make(chan string)
	for range 5 {
		callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end)
	}
	waitForQueued(t, s, "192.0.2.66", 4)
	callFrom(t.Context(), s, passwordMethod, "192.0.2.77", running, end)
	waitForQueued(t, s, "192.0.2.77", 1)
	var order []string
	for range 6 {
		order = append(order, <-running)
		<-end
	}
	if i := slices.Index(order, "192.0.2.77"); i != 1 && i != 2 {
		t.Errorf("position of the other address's call: got %d, want 1 or 2", i)
	}
}

func TestPasswordQueue_RemovesCanceledCall(t *testing.T) {
	t.Parallel()
	s := newPasswordServer(1, 16)
	running, end := make(chan string, 16), make(chan string)
	first := callFrom(t.Context(), s, passwordMethod, "192.0.2.66", running, end)
	<-running
	ctx, cancel := context.WithCancel(t.Context())
	second := callFrom(ctx, s, passwordMethod, "192.0.2.66", running, end)
	waitForQueued(t, s, "192.0.2.66", 1)
	third := callFrom(t.Context(), s, passwordMethod, "192.0.2.77", running, end)
	waitForQueued(t, s, "192.0.2.77", 1)
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled call: got %v", err)
	}
	for _, done := range []<-chan error{first, third} {
		<-end
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if q := s.passwords; q.idle != 1 || len(q.turns) != 0 || len(q.waiting) != 0 {
		t.Errorf("final queue: got %d idle, turns %v, waiting %v; want 1 idle and an empty queue", q.idle, q.turns, q.waiting)
	}
}

func TestAccessRules_MarkMethodsThatTakePasswords(t *testing.T) {
	t.Parallel()
	service := accountspb.Accounts_ServiceDesc
	var info grpc.ServiceInfo
	for _, m := range service.Methods {
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	access, err := accessRules(map[string]grpc.ServiceInfo{service.ServiceName: info})
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
		if access[method].password != want {
			t.Errorf("password rule of %s: got %t, want %t", method, !want, want)
		}
	}
}
