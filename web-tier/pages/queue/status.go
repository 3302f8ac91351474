package queue

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/ui"
)

// standing is how a queue stands: in a word, and how much that is to worry about.
// The same words and figures are in queue.js.
type standing struct{ tone, word string }

// A backlog grows when more than a handful wait and clearly more come in than go
// out: two rates that are taken over seconds are never quite the same.
const (
	backlog = 20
	growth  = 1.1
)

func stands(q *queuepb.Queue) standing {
	switch {
	case len(q.Consumers) == 0 && q.ReadyCount+q.DelayedCount+q.UnacknowledgedCount > 0:
		return standing{"bad", "No consumer"}
	case len(q.Consumers) == 0:
		return standing{"warn", "No consumer"}
	case q.ReadyCount > backlog && q.InRate > growth*q.OutRate:
		return standing{"warn", "Backlog grows"}
	case q.UnacknowledgedCount > 0 || q.OutRate > 0:
		return standing{"live", "Works"}
	case q.ReadyCount > 0:
		return standing{"warn", "Waits"}
	case q.DelayedCount > 0:
		return standing{"calm", "Delayed"}
	}
	return standing{"calm", "Empty"}
}

// short returns a number in at most five characters.
func short(n int64) string {
	value, unit := float64(n), ""
	for _, next := range []string{"k", "M", "G", "T"} {
		if n < 10_000 || unit != "" && value < 999.5 {
			break
		}
		value, unit = value/1000, next
	}
	switch {
	case unit == "":
		return ui.Number(n)
	case value < 99.95:
		return fmt.Sprintf("%.1f%s", value, unit)
	}
	return fmt.Sprintf("%.0f%s", value, unit)
}

// rate returns so many a second.
func rate(r float64) string {
	switch {
	case !(r > 0): // NaN, too
		return "0"
	case r < 0.05:
		return "<0.1"
	case r < 99.95:
		return fmt.Sprintf("%.1f", r)
	}
	return ui.Number(int64(math.Round(r)))
}

func shortRate(r float64) string {
	if r >= 9999.5 {
		return short(int64(math.Round(r)))
	}
	return rate(r)
}

// redelivered is how many deliveries were not the first, and how many there are now.
func redelivered(q *queuepb.Queue) string {
	if q.RedeliveryRate > 0 {
		return ui.Number(q.RedeliveredCount) + " · " + rate(q.RedeliveryRate) + "/s"
	}
	return ui.Number(q.RedeliveredCount)
}

// none is shown where there is nothing to tell.
const none = "–"

// age returns how long before the snapshot something was; none when it never was.
func age(s *queuepb.Snapshot, of *timestamppb.Timestamp) string {
	if !of.IsValid() {
		return none
	}
	switch d := s.GetTime().AsTime().Sub(of.AsTime()); {
	case d < time.Second:
		return "<1 s"
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
}

// shape says what of a snapshot is drawn and listed, without the numbers and in
// whatever order it is: while it is the same, a page only has to change numbers.
// The same text is made in queue.js.
func shape(s *queuepb.Snapshot) string {
	var lines []string
	line := func(parts ...any) {
		lines = append(lines, strings.TrimSuffix(fmt.Sprintln(parts...), "\n"))
	}
	line(s.Engine)
	for _, e := range s.Exchanges {
		line("exchange", e.Name, e.Type, strings.Join(slices.Sorted(slices.Values(e.Producers)), ","), e.Test)
	}
	for _, one := range s.Bindings {
		line("binding", one.Exchange, one.Queue, one.Pattern)
	}
	for _, q := range s.Queues {
		line("queue", q.Name, q.Exclusive, q.DeliveryLimit, q.Test)
		for _, c := range q.Consumers {
			line("consumer", q.Name, c.Process, c.Host, c.Prefetch, c.Concurrency)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// totals is what is left of a snapshot's queues when they are taken together.
type totals struct{ ready, unacknowledged, deadLetters int64 }

func total(s *queuepb.Snapshot) (t totals) {
	for _, q := range s.Queues {
		t.ready += q.ReadyCount
		t.unacknowledged += q.UnacknowledgedCount
		t.deadLetters += q.DeadLetterCount
	}
	return t
}

// engines are what engines are called.
var engines = map[string]string{"postgres": "PostgreSQL", "rabbitmq": "RabbitMQ"}

func engine(s *queuepb.Snapshot) string { return cmp.Or(engines[s.Engine], s.Engine) }

func answers(s *queuepb.Snapshot) string {
	if s.BrokerUp {
		return "answers"
	}
	return "away"
}

// shownConsumers is how many consumers of a queue are listed in sight.
const shownConsumers = 6

// byHost orders consumers by where they are, so that each stays in its place.
func byHost(all []*queuepb.Consumer) []*queuepb.Consumer {
	return slices.SortedFunc(slices.Values(all), func(a, b *queuepb.Consumer) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Process, b.Process))
	})
}

// processOf returns what tells a process from others on its host.
func processOf(c *queuepb.Consumer) string {
	return cmp.Or(strings.TrimPrefix(c.Process, c.Host+"-"), c.Process)
}
