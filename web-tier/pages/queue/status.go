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

// status summarizes a queue as a severity and a label. queue.js has the same labels
// and thresholds.
type status struct{ tone, label string }

// A backlog is growing when more than backlogThreshold messages are ready and the
// in-rate exceeds the out-rate by growthFactor. Rates are averages over seconds, so
// equal rates rarely measure as equal.
const (
	backlogThreshold = 20
	growthFactor     = 1.1
)

func statusOf(q *queuepb.Queue) status {
	switch {
	case len(q.Consumers) == 0 && q.ReadyCount+q.DelayedCount+q.UnacknowledgedCount > 0:
		return status{"bad", "No consumer"}
	case len(q.Consumers) == 0:
		return status{"warn", "No consumer"}
	case q.ReadyCount > backlogThreshold && q.InRate > growthFactor*q.OutRate:
		return status{"warn", "Backlog growing"}
	case q.UnacknowledgedCount > 0 || q.OutRate > 0:
		return status{"live", "Active"}
	case q.ReadyCount > 0:
		return status{"warn", "Waiting"}
	case q.DelayedCount > 0:
		return status{"calm", "Delayed"}
	}
	return status{"calm", "Empty"}
}

// compact formats a number in at most five characters.
func compact(n int64) string {
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

// rate formats a rate per second.
func rate(r float64) string {
	switch {
	case !(r > 0): // also NaN
		return "0"
	case r < 0.05:
		return "<0.1"
	case r < 99.95:
		return fmt.Sprintf("%.1f", r)
	}
	return ui.Number(int64(math.Round(r)))
}

// compactRate formats a rate per second in at most five characters.
func compactRate(r float64) string {
	if r >= 9999.5 {
		return compact(int64(math.Round(r)))
	}
	return rate(r)
}

// redelivered returns the number of redeliveries and, if there are any now, their rate.
func redelivered(q *queuepb.Queue) string {
	if q.RedeliveryRate > 0 {
		return ui.Number(q.RedeliveredCount) + " · " + rate(q.RedeliveryRate) + "/s"
	}
	return ui.Number(q.RedeliveredCount)
}

// noValue is shown in place of a missing value.
const noValue = "–"

// age returns the time from t to the snapshot; noValue if t is not set.
func age(s *queuepb.Snapshot, t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return noValue
	}
	switch d := s.GetTime().AsTime().Sub(t.AsTime()); {
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

// shape describes everything on the page except the numbers, in sorted order. While
// the shape of the snapshots stays the same, queue.js updates numbers in place;
// otherwise it fetches the page again. queue.js builds the same text.
func shape(s *queuepb.Snapshot) string {
	var lines []string
	line := func(parts ...any) {
		lines = append(lines, strings.TrimSuffix(fmt.Sprintln(parts...), "\n"))
	}
	line(s.Engine)
	for _, e := range s.Exchanges {
		line("exchange", e.Name, e.Type, strings.Join(slices.Sorted(slices.Values(e.Producers)), ","), e.Test)
	}
	for _, b := range s.Bindings {
		line("binding", b.Exchange, b.Queue, b.Pattern)
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

// totals are sums over the queues of a snapshot.
type totals struct{ ready, unacknowledged, deadLetters int64 }

func totalsOf(s *queuepb.Snapshot) (t totals) {
	for _, q := range s.Queues {
		t.ready += q.ReadyCount
		t.unacknowledged += q.UnacknowledgedCount
		t.deadLetters += q.DeadLetterCount
	}
	return t
}

var engineNames = map[string]string{"postgres": "PostgreSQL", "rabbitmq": "RabbitMQ"}

func engineName(s *queuepb.Snapshot) string { return cmp.Or(engineNames[s.Engine], s.Engine) }

func brokerState(s *queuepb.Snapshot) string {
	if s.BrokerUp {
		return "up"
	}
	return "down"
}

// shownConsumers is the number of consumers of a queue listed before the rest is
// folded.
const shownConsumers = 6

// sortedByHost sorts consumers by host and process, so that each keeps its position.
func sortedByHost(consumers []*queuepb.Consumer) []*queuepb.Consumer {
	return slices.SortedFunc(slices.Values(consumers), func(a, b *queuepb.Consumer) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Process, b.Process))
	})
}

// processLabel returns the consumer's process without its host.
func processLabel(c *queuepb.Consumer) string {
	return cmp.Or(strings.TrimPrefix(c.Process, c.Host+"-"), c.Process)
}
