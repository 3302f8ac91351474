package logicclient_test

import (
	"context"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
)

// A talk that is published twice would notify its followers twice.
func TestOnlyIdempotentCallsAreRetried(t *testing.T) {
	tier := logictest.New(t)
	var reads, writes atomic.Int32
	logictest.Answer(tier, talkspb.Talks_GetTalk_FullMethodName, func(context.Context, *talkspb.GetTalkRequest) (*talkspb.GetTalkResponse, error) {
		if reads.Add(1) == 1 {
			return nil, status.Error(codes.Unavailable, "restarting")
		}
		return &talkspb.GetTalkResponse{Talk: &talkspb.Talk{Title: "Looms"}}, nil
	})
	logictest.Answer(tier, accountspb.Accounts_SignUp_FullMethodName, func(context.Context, *accountspb.SignUpRequest) (*accountspb.SignUpResponse, error) {
		writes.Add(1)
		return nil, status.Error(codes.Unavailable, "restarting")
	})
	answer, err := tier.Logic.Talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{})
	if err != nil || answer.Talk.Title != "Looms" || reads.Load() != 2 {
		t.Errorf("GetTalk: %v after %d calls, want an answer after 2", err, reads.Load())
	}
	if _, err := tier.Logic.Accounts.SignUp(t.Context(), &accountspb.SignUpRequest{}); status.Code(err) != codes.Unavailable || writes.Load() != 1 {
		t.Errorf("SignUp: %v after %d calls, want UNAVAILABLE after 1", err, writes.Load())
	}
}

func TestCallsCarryTheCaller(t *testing.T) {
	tier := logictest.New(t)
	ctx := logicclient.WithCaller(t.Context(), logicclient.Caller{Session: logictest.Session, Address: "192.0.2.7"})
	if _, err := tier.Logic.Accounts.GetCurrentAccount(ctx, &accountspb.GetCurrentAccountRequest{}); err != nil {
		t.Fatal(err)
	}
	call := tier.Calls(accountspb.Accounts_GetCurrentAccount_FullMethodName)[0]
	if call.Session != logictest.Session || call.Address != "192.0.2.7" {
		t.Errorf("got %+v, want the caller's session and address", call)
	}
}
