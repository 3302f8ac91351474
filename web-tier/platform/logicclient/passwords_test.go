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

// However many sign in, from however many addresses, they hold a quarter of the
// forms; one address never holds all of those.
func TestSignInsThatWaitAreBounded(t *testing.T) {
	tier := logictest.New(t)
	hashed := make(chan struct{})
	logictest.Answer(tier, accountspb.Accounts_SignIn_FullMethodName, func(ctx context.Context, _ *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
		select {
		case <-hashed:
		case <-ctx.Done():
		}
		return &accountspb.SignInResponse{}, nil
	})
	var waiting sync.WaitGroup
	refused := make(chan error, 1000)
	signIn := func(address string, times int) {
		ctx := logicclient.WithCaller(t.Context(), logicclient.Caller{Address: address})
		for range times {
			waiting.Go(func() {
				if _, err := tier.Logic.Accounts.SignIn(ctx, &accountspb.SignInRequest{}); err != nil {
					refused <- err
				}
			})
		}
	}
	signIn("192.0.2.66", 100)
	for range 68 {
		if p := logicclient.Explain(<-refused); p.Status != http.StatusServiceUnavailable || p.RetryAfter == 0 {
			t.Fatalf("a sign-in that finds no place gets %+v", p)
		}
	}
	for i := range 200 {
		signIn(fmt.Sprintf("2001:db8::%x", i), 1)
	}
	for range 200 - 32 {
		<-refused
	}
	select {
	case err := <-refused:
		t.Errorf("one more than there is no place for is refused: %v", err)
	default:
	}
	if _, err := tier.Logic.Accounts.SignOut(t.Context(), &accountspb.SignOutRequest{}); logicclient.Explain(err).Status != http.StatusNotImplemented {
		t.Errorf("a call without a password gets %v", err)
	}
	close(hashed)
	waiting.Wait()
	signIn("192.0.2.66", 1)
	waiting.Wait()
	if len(refused) > 0 {
		t.Errorf("with places free again: %v", <-refused)
	}
}
