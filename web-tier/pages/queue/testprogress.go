package queue

import (
	"fmt"
	"math"
	"time"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// routingGrace is how long the page keeps refreshing for a message without matching
// bindings, which may not have been routed yet.
const routingGrace = 5 * time.Second

// queueProgress is the progress of a test message in one queue.
type queueProgress struct {
	deliveries int
	last       *queuepb.TestDelivery // nil before the first delivery
	settled    bool                  // no further delivery follows
}

// progressByQueue returns the progress of a test message in each queue that it is
// routed to. The instances of an exclusive queue count as one queue.
func progressByQueue(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) map[string]queueProgress {
	byQueue := map[string]queueProgress{}
	for _, b := range m.MatchingBindings {
		byQueue[b.Queue] = queueProgress{}
	}
	for _, d := range m.Deliveries {
		p := byQueue[d.Queue]
		p.deliveries, p.last = p.deliveries+1, d
		p.settled = d.Outcome != "failed" || d.DeliveryCount >= deliveryLimit(s, d.Queue)
		byQueue[d.Queue] = p
	}
	return byQueue
}

// deliveryLimit returns the maximum number of deliveries of a message from a queue.
func deliveryLimit(s *queuepb.Snapshot, queue string) int32 {
	for _, q := range s.Queues {
		if q.Name == queue && q.DeliveryLimit > 0 {
			return q.DeliveryLimit
		}
	}
	return math.MaxInt32
}

// isSettled reports whether a test message is settled in every queue that it is
// routed to. A message without matching bindings is settled after routingGrace.
func isSettled(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse, now time.Time) bool {
	byQueue := progressByQueue(s, m)
	for _, p := range byQueue {
		if !p.settled {
			return false
		}
	}
	return len(byQueue) > 0 || now.Sub(m.GetSendTime().AsTime()) > routingGrace
}

// label describes the progress in a line that fits into a queue's box.
func (p queueProgress) label() string {
	switch {
	case p.last == nil:
		return "Awaiting delivery"
	case p.last.Outcome == "acknowledged" && p.deliveries == 1:
		return "Acknowledged"
	case p.last.Outcome == "failed" && p.settled:
		return fmt.Sprintf("Failed %s: dead-lettered", times(p.deliveries))
	case p.last.Outcome == "failed":
		return fmt.Sprintf("Failed %s, retrying", times(p.deliveries))
	case p.last.Outcome == "rejected":
		return "Rejected: dead-lettered"
	}
	return fmt.Sprintf("Acknowledged on delivery %d", p.last.DeliveryCount)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// highlightOf returns the highlight of a test message's route.
func highlightOf(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) *highlight {
	h := &highlight{exchange: m.GetMessage().GetExchange(), bindings: map[bindingKey]bool{}, notes: map[string]string{}}
	for _, b := range m.MatchingBindings {
		h.bindings[keyOf(b)] = true
	}
	for queue, p := range progressByQueue(s, m) {
		h.notes[queue] = p.label()
	}
	return h
}

// outcomeClass returns the CSS class of a delivery's outcome.
func outcomeClass(d *queuepb.TestDelivery) string {
	if d.Outcome == "acknowledged" {
		return "succeeded"
	}
	return "failed"
}
