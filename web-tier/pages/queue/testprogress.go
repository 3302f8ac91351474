package queue

import (
	"fmt"
	"time"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// unmatched is how long a message that no binding matches is looked at: it might
// not have been routed yet.
const unmatched = 5 * time.Second

// fate is what became of a test message in a queue so far.
type fate struct {
	deliveries int
	last       *queuepb.TestDelivery // nil: none yet
	over       bool
}

// fates returns what became of a test message in each queue that a binding leads
// it to. An exclusive queue counts once, however many there are of it.
func fates(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) map[string]fate {
	all := map[string]fate{}
	for _, b := range m.MatchingBindings {
		all[b.Queue] = fate{}
	}
	for _, d := range m.Deliveries {
		f := all[d.Queue]
		f.deliveries, f.last = f.deliveries+1, d
		f.over = d.Outcome != "failed" || d.DeliveryCount >= limit(s, d.Queue)
		all[d.Queue] = f
	}
	return all
}

// limit is how often a queue delivers a message at most.
func limit(s *queuepb.Snapshot, queue string) int32 {
	for _, q := range s.Queues {
		if q.Name == queue && q.DeliveryLimit > 0 {
			return q.DeliveryLimit
		}
	}
	return 1 << 30
}

// settled says whether nothing more is to be expected of a test message.
func settled(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse, now time.Time) bool {
	all := fates(s, m)
	for _, f := range all {
		if !f.over {
			return false
		}
	}
	return len(all) > 0 || now.Sub(m.GetSendTime().AsTime()) > unmatched
}

// says is a fate in the few words there is room for in a queue's box.
func (f fate) says() string {
	switch {
	case f.last == nil:
		return "On its way"
	case f.last.Outcome == "acknowledged" && f.deliveries == 1:
		return "Acknowledged"
	case f.last.Outcome == "failed" && f.over:
		return fmt.Sprintf("Failed %d times: dead letter", f.deliveries)
	case f.last.Outcome == "failed":
		return fmt.Sprintf("Failed %s: again soon", times(f.deliveries))
	case f.last.Outcome == "rejected":
		return "Rejected: dead letter"
	}
	return fmt.Sprintf("Acknowledged at delivery %d", f.last.DeliveryCount)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// lightOf shows a test message's way.
func lightOf(s *queuepb.Snapshot, m *queuepb.GetTestMessageResponse) *light {
	l := &light{exchange: m.GetMessage().GetExchange(), bindings: map[[3]string]bool{}, notes: map[string]string{}}
	for _, b := range m.MatchingBindings {
		l.bindings[key(b)] = true
	}
	for queue, f := range fates(s, m) {
		l.notes[queue] = f.says()
	}
	return l
}

// look is the class of an outcome.
func look(d *queuepb.TestDelivery) string {
	if d.Outcome == "acknowledged" {
		return "succeeded"
	}
	return "failed"
}
