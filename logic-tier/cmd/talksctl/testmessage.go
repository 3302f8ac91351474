package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

const (
	// lookEvery is how often a test message is looked at.
	lookEvery = 250 * time.Millisecond
	// unmatched is how long a message that no binding matches is looked at: it might
	// not have been routed yet.
	unmatched = 3 * time.Second
)

// sendTest publishes a test message, and tells of its deliveries until it is
// settled in every queue that a binding leads it to.
func sendTest(ctx context.Context, q *queueAsk) error {
	t := q.test
	request := &queuepb.SendTestMessageRequest{
		Exchange: q.words[0], RoutingKey: t.key, Headers: t.headers, Priority: wide(t.priority), Text: t.text,
		FailingDeliveries: wide(t.fail), Reject: t.reject,
	}
	if t.delay != 0 {
		request.Delay = durationpb.New(t.delay)
	}
	sent, err := call(ctx, q.queues.SendTestMessage, request)
	if err != nil {
		return explain(err)
	}
	now, err := call(ctx, q.queues.GetQueues, &queuepb.GetQueuesRequest{})
	if err != nil {
		return explain(err)
	}
	fmt.Fprintf(q.out, "message %d is published to %s\n", sent.Id, request.Exchange)
	return followTest(ctx, q, sent.Id, now.Snapshot)
}

// wide keeps a number that is out of every range so.
func wide(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

func followTest(ctx context.Context, q *queueAsk, id int64, s *queuepb.Snapshot) error {
	lookedAway := fmt.Errorf("its deliveries go on by themselves: the site shows them at /queue/tests/%d", id)
	began, since := time.Now(), time.Now()
	bindings, deliveries := 0, 0 // told of
	for {
		m, err := call(ctx, q.queues.GetTestMessage, &queuepb.GetTestMessageRequest{Id: id})
		switch {
		case ctx.Err() != nil:
			return lookedAway
		case err != nil && (!interrupted(err) || time.Since(since) > patience):
			return explain(err)
		case err == nil:
			since = time.Now()
			for _, b := range m.MatchingBindings[min(bindings, len(m.MatchingBindings)):] {
				fmt.Fprintf(q.out, "  %s\n", matched(b))
			}
			for _, d := range m.Deliveries[min(deliveries, len(m.Deliveries)):] {
				fmt.Fprintf(q.out, "%s  %s\n", d.Time.AsTime().Local().Format(time.TimeOnly), delivered(d))
			}
			bindings, deliveries = len(m.MatchingBindings), len(m.Deliveries)
			if bindings == 0 && deliveries == 0 && time.Since(began) > unmatched {
				fmt.Fprintf(q.out, "no binding matches it: see \"talksctl queue dead-letters %s\"\n", unroutable)
				return nil
			}
			if over(s, m) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return lookedAway
		case <-time.After(lookEvery):
		}
	}
}

// matched says which way a binding leads.
func matched(b *queuepb.Binding) string {
	if b.Pattern == "" {
		return fmt.Sprintf("%s → %s", b.Exchange, b.Queue)
	}
	return fmt.Sprintf("%s ─ %s → %s", b.Exchange, b.Pattern, b.Queue)
}

func delivered(d *queuepb.TestDelivery) string {
	return fmt.Sprintf("%s: delivery %d %s on %s (%s)", d.Queue, d.DeliveryCount, d.Outcome, d.Host, d.Process)
}

// over says whether nothing more is to be expected in any queue: it was
// acknowledged, rejected, or failed as often as the queue allows.
func over(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) bool {
	limits := map[string]int32{}
	for _, q := range s.GetQueues() {
		limits[q.Name] = q.DeliveryLimit
	}
	settled := map[string]bool{}
	for _, d := range m.Deliveries {
		limit := limits[d.Queue]
		settled[d.Queue] = d.Outcome != "failed" || limit > 0 && d.DeliveryCount >= limit
	}
	for _, b := range m.MatchingBindings {
		if !settled[b.Queue] {
			return false
		}
	}
	for _, is := range settled {
		if !is {
			return false
		}
	}
	return len(settled) > 0
}
