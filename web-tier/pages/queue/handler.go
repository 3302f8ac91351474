// Package queue shows operators the message queue: its topology with what waits
// where, its dead letters, and what becomes of a test message.
package queue

import (
	"context"
	"net/http"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// Show shows the topology and its queues, as they are and as they change.
func Show(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	s, err := snapshot(v)
	if err != nil {
		return err
	}
	v.ReloadWithoutScripts = true
	v.Scripts = append(v.Scripts, "queue.js")
	return render(v, http.StatusOK, showPage(v, s, newForm(s)))
}

// snapshot makes a page's calls beside the one that says how the queues are.
func snapshot(v *ui.PageContext, calls ...func(context.Context) error) (*queuepb.Snapshot, error) {
	var answer *queuepb.GetQueuesResponse
	err := v.FetchAll(append(calls, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetQueues(ctx, &queuepb.GetQueuesRequest{})
		return err
	})...)
	if err != nil {
		return nil, forOperators(err)
	}
	return answer.GetSnapshot(), nil
}

// forOperators says what a refusal means on these pages, to whoever followed a
// link to one.
func forOperators(err error) error {
	if err == nil || logicclient.Explain(err).Status != http.StatusForbidden {
		return err
	}
	return &logicclient.Problem{
		Status: http.StatusForbidden, Reason: logicclient.Explain(err).Reason, Title: "For operators",
		Message: "You are signed in, but not as an operator. The queue serves everybody, so only operators see it and mend it: sign out, and sign in with an operator's account.",
	}
}
