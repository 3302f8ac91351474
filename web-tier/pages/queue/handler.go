// Package queue serves the operators' pages of the message queue: the topology with
// its message counts, the dead letters, and test messages.
package queue

import (
	"context"
	"net/http"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// Show renders the topology and its queues. queue.js updates the page live.
func Show(v *ui.PageContext) error {
	s, err := fetchSnapshot(v)
	if err != nil {
		return err
	}
	v.ReloadWithoutScripts = true
	v.Scripts = append(v.Scripts, "queue.js")
	return render(v, http.StatusOK, showPage(v, s, newForm(s)))
}

// fetchSnapshot fetches a snapshot of the queues and makes the other calls of the page
// concurrently.
func fetchSnapshot(v *ui.PageContext, calls ...func(context.Context) error) (*queuepb.Snapshot, error) {
	var answer *queuepb.GetQueuesResponse
	err := v.FetchAll(append(calls, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetQueues(ctx, &queuepb.GetQueuesRequest{})
		return err
	})...)
	if err != nil {
		return nil, explainForbidden(err)
	}
	return answer.GetSnapshot(), nil
}

// explainForbidden replaces a permission error by one that explains who can open the
// page: an account that is not an operator may have followed a link. Other errors are
// returned unchanged.
func explainForbidden(err error) error {
	if err == nil || logicclient.Explain(err).Status != http.StatusForbidden {
		return err
	}
	return &logicclient.Problem{
		Status: http.StatusForbidden, Reason: logicclient.Explain(err).Reason, Title: "Operators only",
		Message: "Your account is not an operator. Only operators can view and manage the message queue. Sign out, then sign in with an operator account.",
	}
}
