package logicclient_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
)

// An overloaded logic tier gets only enough reads to detect when it has capacity again.
// Writes are always sent.
func TestThrottle_SparesAnOverloadedLogicTier(t *testing.T) {
	tier := logictest.New(t)
	var overloaded atomic.Bool
	var reads, writes atomic.Int32
	logictest.Answer(tier, talkspb.Talks_GetTalk_FullMethodName, func(context.Context, *talkspb.GetTalkRequest) (*talkspb.GetTalkResponse, error) {
		reads.Add(1)
		if overloaded.Load() {
			return nil, logictest.Refusal(codes.ResourceExhausted, "SERVER_BUSY", "full")
		}
		return &talkspb.GetTalkResponse{}, nil
	})
	logictest.Answer(tier, accountspb.Accounts_SignUp_FullMethodName, func(context.Context, *accountspb.SignUpRequest) (*accountspb.SignUpResponse, error) {
		writes.Add(1)
		return nil, logictest.Refusal(codes.ResourceExhausted, "SERVER_BUSY", "full")
	})
	read := func(n int) (rejected int) {
		for range n {
			if _, err := tier.Logic.Talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{}); err != nil {
				if p := logicclient.Explain(err); p.Status != http.StatusServiceUnavailable || p.Reason != "SERVER_BUSY" {
					t.Fatalf("got %+v, want SERVER_BUSY", p)
				}
				rejected++
			}
		}
		return rejected
	}
	if rejected := read(200); rejected != 0 || reads.Load() != 200 {
		t.Errorf("with capacity: got %d of 200 reads rejected and %d sent, want 0 and 200", rejected, reads.Load())
	}
	overloaded.Store(true)
	reads.Store(0)
	if rejected := read(2000); rejected != 2000 {
		t.Errorf("overloaded: got %d of 2000 reads rejected, want all", rejected)
	}
	if n := reads.Load(); n < 20 || n > 1000 {
		t.Errorf("overloaded: got %d of 2000 reads sent, want 20 to 1000", n)
	}
	// Signed-in callers have a throttle of their own.
	ctx := logicclient.WithCaller(t.Context(), logicclient.Caller{Session: logictest.Session})
	reads.Store(0)
	if _, err := tier.Logic.Talks.GetTalk(ctx, &talkspb.GetTalkRequest{}); err == nil || reads.Load() != 1 {
		t.Errorf("got %d reads sent for a signed-in caller (%v), want 1 that fails", reads.Load(), err)
	}
	for range 50 {
		_, _ = tier.Logic.Accounts.SignUp(t.Context(), &accountspb.SignUpRequest{})
	}
	if writes.Load() != 50 {
		t.Errorf("got %d of 50 writes sent, want all", writes.Load())
	}
	overloaded.Store(false)
	for rejected := 1; rejected > 0; {
		if t.Context().Err() != nil {
			t.Fatal("reads are still rejected after the overload")
		}
		rejected = read(50)
	}
}
