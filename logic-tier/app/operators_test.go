package app

import (
	"context"
	"strings"
	"testing"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

func TestQueuesAreVisibleToOperatorsOnly(t *testing.T) {
	r := startTierWith(t, func(s *settings) { s.operators = "root-of-all, ada" })
	web, operator := r.connect("web-tier"), r.connect("operator")
	ada, grace := r.signUp(operator, "ada"), r.signUp(web, "grace") // the web tier cannot sign up an operator
	getQueues := func(ctx context.Context, client queuepb.QueuesClient) error {
		_, err := client.GetQueues(ctx, &queuepb.GetQueuesRequest{})
		return err
	}
	for name, c := range map[string]struct {
		err    error
		reason string
	}{
		"web tier without session":      {getQueues(r.context(), queuepb.NewQueuesClient(web)), "SESSION_REQUIRED"},
		"ordinary account":              {getQueues(grace, queuepb.NewQueuesClient(web)), "OPERATOR_REQUIRED"},
		"ordinary account via talksctl": {getQueues(grace, queuepb.NewQueuesClient(operator)), "OPERATOR_REQUIRED"},
		"operator account":              {getQueues(ada, queuepb.NewQueuesClient(web)), ""},
		"talksctl without session":      {getQueues(r.context(), queuepb.NewQueuesClient(operator)), ""},
	} {
		if reason(c.err) != c.reason || (c.err == nil) != (c.reason == "") {
			t.Errorf("%s: got %v, want %q", name, c.err, c.reason)
		}
	}
}

func TestWorkerConsumesOnlySelectedQueues(t *testing.T) {
	r := startTierWith(t, func(s *settings) { s.queues = "test.blue" })
	client := queuepb.NewQueuesClient(r.connect("operator"))
	for _, key := range []string{"colour.blue.large", "colour.red.large"} {
		if _, err := client.SendTestMessage(r.context(), &queuepb.SendTestMessageRequest{Exchange: "test.topic", RoutingKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	r.waitFor("one message acknowledged and two ready", func() bool {
		response, err := client.GetQueues(r.context(), &queuepb.GetQueuesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		consumed, waiting := false, false
		for _, q := range response.Snapshot.Queues {
			switch {
			case q.Name == "test.blue":
				consumed = len(q.Consumers) == 1 && q.Consumers[0].AcknowledgedCount == 1
			case q.Name == "test.green":
				waiting = len(q.Consumers) == 0 && q.ReadyCount == 2
			case len(q.Consumers) > 0:
				t.Errorf("queue %s has a consumer", q.Name)
			}
		}
		return consumed && waiting
	})
	if want := `queue_acknowledged_total{queue="test.blue"} 1`; !strings.Contains(r.metrics(), want) {
		t.Errorf("metrics do not contain %s", want)
	}
}
