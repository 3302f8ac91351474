package logicclient_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
)

// Concurrent sign-ins hold at most maxPasswordCalls slots, from however many addresses, and
// one address holds at most half of them.
func TestConcurrentSignInsAreLimited(t *testing.T) {
	tier := logictest.New(t)
	hashed := make(chan struct{})
	logictest.Answer(tier, accountspb.Accounts_SignIn_FullMethodName, func(ctx context.Context, _ *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
		select {
		case <-hashed:
		case <-ctx.Done():
		}
		return &accountspb.SignInResponse{}, nil
	})
	var calls sync.WaitGroup
	rejected := make(chan error, 1000)
	signIn := func(address string, times int) {
		ctx := logicclient.WithCaller(t.Context(), logicclient.Caller{Address: address})
		for range times {
			calls.Go(func() {
				if _, err := tier.Logic.Accounts.SignIn(ctx, &accountspb.SignInRequest{}); err != nil {
					rejected <- err
				}
			})
		}
	}
	signIn("192.0.2.66", 100)
	for range 68 {
		if p := logicclient.Explain(<-rejected); p.Status != http.StatusServiceUnavailable || p.RetryAfter == 0 {
			t.Fatalf("got %+v for a sign-in above the limit, want a 503 with RetryAfter", p)
		}
	}
	for i := range 200 {
		signIn(fmt.Sprintf("2001:db8::%x", i), 1)
	}
	for range 200 - 32 {
		<-rejected
	}
	select {
	case err := <-rejected:
		t.Errorf("got one more sign-in rejected than exceed the limit: %v", err)
	default:
	}
	if _, err := tier.Logic.Accounts.SignOut(t.Context(), &accountspb.SignOutRequest{}); logicclient.Explain(err).Status != http.StatusNotImplemented {
		t.Errorf("got %v for a call without a password, want UNIMPLEMENTED", err)
	}
	close(hashed)
	calls.Wait()
	signIn("192.0.2.66", 1)
	calls.Wait()
	if len(rejected) > 0 {
		t.Errorf("got %v after the slots were released, want nil", <-rejected)
	}
}
