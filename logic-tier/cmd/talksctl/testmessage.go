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
	// pollInterval is how often a test message is polled.
	pollInterval = 250 * time.Millisecond
	// unmatchedTimeout is how long to wait for the routing of a message that has matched
	// no binding.
	unmatchedTimeout = 3 * time.Second
)

// sendTest publishes a test message, and prints its deliveries until it is settled in every
// queue it is routed to.
func sendTest(ctx context.Context, q *queueCall) error {
	t := q.test
	request := &queuepb.SendTestMessageRequest{
		Exchange: q.args[0], RoutingKey: t.key, Headers: t.headers, Priority: clampInt32(t.priority), Text: t.text,
		FailingDeliveries: clampInt32(t.fail), Reject: t.reject,
	}
	if t.delay != 0 {
		request.Delay = durationpb.New(t.delay)
	}
	sent, err := call(ctx, q.queues.SendTestMessage, request)
	if err != nil {
		return readable(err)
	}
	response, err := call(ctx, q.queues.GetQueues, &queuepb.GetQueuesRequest{})
	if err != nil {
		return readable(err)
	}
	fmt.Fprintf(q.out, "Message %d published to %s\n", sent.Id, request.Exchange)
	return followTest(ctx, q, sent.Id, response.Snapshot)
}

// clampInt32 keeps numbers beyond int32 out of range, so that the logic tier rejects them.
func clampInt32(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// followTest prints the bindings and deliveries of a test message until it is settled.
func followTest(ctx context.Context, q *queueCall, id int64, s *queuepb.Snapshot) error {
	errDetached := fmt.Errorf("stopped following; deliveries continue: see /queue/tests/%d on the site", id)
	start, lastResponse := time.Now(), time.Now()
	bindings, deliveries := 0, 0 // printed
	for {
		m, err := call(ctx, q.queues.GetTestMessage, &queuepb.GetTestMessageRequest{Id: id})
		switch {
		case ctx.Err() != nil:
			return errDetached
		case err != nil && (!isTransient(err) || time.Since(lastResponse) > retryTimeout):
			return readable(err)
		case err == nil:
			lastResponse = time.Now()
			for _, b := range m.MatchingBindings[min(bindings, len(m.MatchingBindings)):] {
				fmt.Fprintf(q.out, "  %s\n", formatBinding(b))
			}
			for _, d := range m.Deliveries[min(deliveries, len(m.Deliveries)):] {
				fmt.Fprintf(q.out, "%s  %s\n", d.Time.AsTime().Local().Format(time.TimeOnly), formatDelivery(d))
			}
			bindings, deliveries = len(m.MatchingBindings), len(m.Deliveries)
			if bindings == 0 && deliveries == 0 && time.Since(start) > unmatchedTimeout {
				fmt.Fprintf(q.out, "No binding matches the message: see \"talksctl queue dead-letters %s\".\n", unroutable)
				return nil
			}
			if isSettled(s, m) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errDetached
		case <-time.After(pollInterval):
		}
	}
}

func formatBinding(b *queuepb.Binding) string {
	if b.Pattern == "" {
		return fmt.Sprintf("%s → %s", b.Exchange, b.Queue)
	}
	return fmt.Sprintf("%s ─ %s → %s", b.Exchange, b.Pattern, b.Queue)
}

func formatDelivery(d *queuepb.TestDelivery) string {
	return fmt.Sprintf("%s: delivery %d %s on %s (%s)", d.Queue, d.DeliveryCount, d.Outcome, d.Host, d.Process)
}

// isSettled reports whether the message has had its last delivery in every queue: it was
// acknowledged, rejected, or has reached the queue's delivery limit.
func isSettled(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) bool {
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
	for _, ok := range settled {
		if !ok {
			return false
		}
	}
	return len(settled) > 0
}
