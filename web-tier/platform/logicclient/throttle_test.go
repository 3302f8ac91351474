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

// A logic tier that has no room is not asked in vain again and again, and is asked
// enough to find out when it has; what changes something is always tried.
func TestALogicTierWithoutRoomIsSpared(t *testing.T) {
	tier := logictest.New(t)
	var full atomic.Bool
	var asked, changes atomic.Int32
	logictest.Answer(tier, talkspb.Talks_GetTalk_FullMethodName, func(context.Context, *talkspb.GetTalkRequest) (*talkspb.GetTalkResponse, error) {
		asked.Add(1)
		if full.Load() {
			return nil, logictest.Refusal(codes.ResourceExhausted, "SERVER_BUSY", "full")
		}
		return &talkspb.GetTalkResponse{}, nil
	})
	logictest.Answer(tier, accountspb.Accounts_SignUp_FullMethodName, func(context.Context, *accountspb.SignUpRequest) (*accountspb.SignUpResponse, error) {
		changes.Add(1)
		return nil, logictest.Refusal(codes.ResourceExhausted, "SERVER_BUSY", "full")
	})
	reads := func(n int) (refused int) {
		for range n {
			if _, err := tier.Logic.Talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{}); err != nil {
				if p := logicclient.Explain(err); p.Status != http.StatusServiceUnavailable || p.Reason != "SERVER_BUSY" {
					t.Fatalf("it is answered %+v", p)
				}
				refused++
			}
		}
		return refused
	}
	if refused := reads(200); refused != 0 || asked.Load() != 200 {
		t.Errorf("with room, %d of 200 are refused, %d asked", refused, asked.Load())
	}
	full.Store(true)
	asked.Store(0)
	if refused := reads(2000); refused != 2000 {
		t.Errorf("without room, %d of 2000 are refused", refused)
	}
	if n := asked.Load(); n < 20 || n > 1000 {
		t.Errorf("without room it is asked %d times of 2000", n)
	}
	// What is signed in has a throttle of its own.
	ctx := logicclient.WithCaller(t.Context(), logicclient.Caller{Session: logictest.Session})
	asked.Store(0)
	if _, err := tier.Logic.Talks.GetTalk(ctx, &talkspb.GetTalkRequest{}); err == nil || asked.Load() != 1 {
		t.Errorf("somebody signed in is not asked for: %v", err)
	}
	for range 50 {
		_, _ = tier.Logic.Accounts.SignUp(t.Context(), &accountspb.SignUpRequest{})
	}
	if changes.Load() != 50 {
		t.Errorf("of 50 changes %d are tried", changes.Load())
	}
	full.Store(false)
	for refused := 1; refused > 0; {
		if t.Context().Err() != nil {
			t.Fatal("with room again, it is never let in")
		}
		refused = reads(50)
	}
}
