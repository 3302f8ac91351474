package app

import (
	"context"
	"strings"
	"testing"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// Whoever runs the system sees the queues; who only uses it does not.
func TestOnlyOperatorsSeeTheQueues(t *testing.T) {
	r := newRunningWith(t, func(s *settings) { s.operators = "root-of-all, ada" })
	web, operator := r.as("web-tier"), r.as("operator")
	ada, grace := r.signedUp(operator, "ada"), r.signedUp(web, "grace") // the web tier cannot sign up an operator
	ask := func(ctx context.Context, client queuepb.QueuesClient) error {
		_, err := client.GetQueues(ctx, &queuepb.GetQueuesRequest{})
		return err
	}
	for what, c := range map[string]struct {
		err    error
		reason string
	}{
		"nobody, by the web tier":          {ask(r.context(), queuepb.NewQueuesClient(web)), "SESSION_REQUIRED"},
		"somebody else":                    {ask(grace, queuepb.NewQueuesClient(web)), "OPERATOR_REQUIRED"},
		"somebody else, by talksctl":       {ask(grace, queuepb.NewQueuesClient(operator)), "OPERATOR_REQUIRED"},
		"an operator's account":            {ask(ada, queuepb.NewQueuesClient(web)), ""},
		"the operator's program by itself": {ask(r.context(), queuepb.NewQueuesClient(operator)), ""},
	} {
		if reason(c.err) != c.reason || (c.err == nil) != (c.reason == "") {
			t.Errorf("%s: %v, want %q", what, c.err, c.reason)
		}
	}
}

// A worker of one queue leaves the others alone.
func TestAWorkerWorksTheQueuesItIsGiven(t *testing.T) {
	r := newRunningWith(t, func(s *settings) { s.queues = "test.blue" })
	client := queuepb.NewQueuesClient(r.as("operator"))
	for _, key := range []string{"colour.blue.large", "colour.red.large"} {
		if _, err := client.SendTestMessage(r.context(), &queuepb.SendTestMessageRequest{Exchange: "test.topic", RoutingKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	r.until("a message worked, and two left", func() bool {
		response, err := client.GetQueues(r.context(), &queuepb.GetQueuesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		worked, left := false, false
		for _, q := range response.Snapshot.Queues {
			switch {
			case q.Name == "test.blue":
				worked = len(q.Consumers) == 1 && q.Consumers[0].AcknowledgedCount == 1
			case q.Name == "test.green":
				left = len(q.Consumers) == 0 && q.ReadyCount == 2
			case len(q.Consumers) > 0:
				t.Errorf("%s is consumed", q.Name)
			}
		}
		return worked && left
	})
	if want := `queue_acknowledged_total{queue="test.blue"} 1`; !strings.Contains(r.metrics(), want) {
		t.Errorf("no %s in the metrics", want)
	}
}
