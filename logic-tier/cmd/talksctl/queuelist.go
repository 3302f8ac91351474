package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// listQueues lists the queues, once or, with --watch, every second until interrupted.
func listQueues(ctx context.Context, q *queueCall) error {
	if q.watch {
		return watchQueues(ctx, q)
	}
	s, err := snapshotWithRates(ctx, q.client)
	if err != nil {
		return readable(err)
	}
	writeQueues(q.out, s)
	return nil
}

// secondSnapshotTimeout is how long to wait for the second snapshot.
const secondSnapshotTimeout = 3 * time.Second

// snapshotWithRates returns the second snapshot of a stream, since the first has no rates
// if no other client is watching. If the second does not arrive, it returns the first.
func snapshotWithRates(ctx context.Context, c *client) (*queuepb.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timeout := time.AfterFunc(callTimeout, cancel)
	defer timeout.Stop()
	stream, err := c.queues.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	timeout.Reset(secondSnapshotTimeout)
	if second, err := stream.Recv(); err == nil {
		return second.Snapshot, nil
	}
	return first.Snapshot, nil
}

// watchQueues lists the queues every second. On a terminal each list replaces the previous
// one. It reconnects while the logic tier is unavailable.
func watchQueues(ctx context.Context, q *queueCall) error {
	terminal := isTerminal(q.out)
	for lastSnapshot := time.Now(); ; {
		stream, err := q.queues.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
		for err == nil {
			var response *queuepb.WatchQueuesResponse
			if response, err = stream.Recv(); err == nil {
				lastSnapshot = time.Now()
				var page bytes.Buffer
				writeQueues(&page, response.Snapshot)
				if _, err := q.out.Write(repaint(page.Bytes(), terminal)); err != nil {
					return err
				}
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil // interrupted by the user
		case !isTransient(err) || time.Since(lastSnapshot) > retryTimeout:
			return readable(err)
		}
		waitToRetry(ctx)
	}
}

// repaint returns page with the escape sequences that replace the previous page without
// flicker: it overwrites from the top, and clears the rest of each line and of the screen.
func repaint(page []byte, terminal bool) []byte {
	if !terminal {
		return append(page, '\n')
	}
	page = bytes.ReplaceAll(page, []byte("\n"), []byte("\x1b[K\n"))
	return slices.Concat([]byte("\x1b[H"), page, []byte("\x1b[J"))
}

func writeQueues(out io.Writer, s *queuepb.Snapshot) {
	fmt.Fprintln(out, summary(s))
	fmt.Fprintln(out)
	rows := [][]string{{"QUEUE", "READY", "DELAYED", "UNACKED", "OLDEST", "IN/S", "OUT/S", "REDELIVERED", "DEAD", "", ""}}
	var consumers [][]string
	for _, q := range s.Queues {
		rows = append(rows, []string{
			q.Name, fmt.Sprint(q.ReadyCount), fmt.Sprint(q.DelayedCount), fmt.Sprint(q.UnacknowledgedCount), age(s, q.OldestPublishTime),
			rate(q.InRate), rate(q.OutRate), fmt.Sprint(q.RedeliveredCount), fmt.Sprint(q.DeadLetterCount), "", problems(q),
		})
		for _, c := range q.Consumers {
			consumers = append(consumers, []string{
				q.Name, fmt.Sprint(c.Prefetch), fmt.Sprint(c.Concurrency), fmt.Sprint(c.HeldCount), fmt.Sprint(c.AcknowledgedCount), c.Host, c.Process,
			})
		}
	}
	writeTable(out, rows, 2)
	fmt.Fprintln(out)
	if len(consumers) == 0 {
		fmt.Fprintln(out, "No consumers: messages wait in their queues. Start logic-tier serve or logic-tier work.")
		return
	}
	slices.SortFunc(consumers, func(a, b []string) int { return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[6], b[6])) })
	writeTable(out, append([][]string{{"CONSUMER OF", "PREFETCH", "CONCURRENCY", "UNACKED", "ACKNOWLEDGED", "HOST", "PROCESS"}}, consumers...), 2)
}

// summary returns a line about the engine and all queues.
func summary(s *queuepb.Snapshot) string {
	parts := []string{s.Engine}
	if s.Engine == "rabbitmq" {
		broker := "broker connected"
		if !s.BrokerUp {
			broker = "BROKER UNAVAILABLE: " + s.BrokerProblem
		}
		outbox := fmt.Sprintf("outbox %d", s.OutboxCount)
		if s.OutboxCount > 0 {
			outbox += ", oldest " + age(s, s.OutboxOldestPublishTime)
		}
		parts = append(parts, broker, outbox)
	}
	unroutable := fmt.Sprintf("unroutable %d", s.UnroutableCount)
	if s.UnroutableCount > 0 {
		unroutable += " (talksctl queue dead-letters unroutable)"
	}
	return strings.Join(append(parts, unroutable, s.GetTime().AsTime().Local().Format(time.TimeOnly)), " · ")
}

// A queue has a growing backlog if more than backlogThreshold messages are ready and its
// input rate exceeds its output rate by growthFactor. Rates measured over seconds are never
// exactly equal.
const (
	backlogThreshold = 20
	growthFactor     = 1.1
)

// problems lists a queue's problems, or returns "".
func problems(q *queuepb.Queue) string {
	var found []string
	switch {
	case len(q.Consumers) == 0:
		found = append(found, "no consumer")
	case q.ReadyCount > backlogThreshold && q.InRate > growthFactor*q.OutRate:
		found = append(found, "growing backlog")
	}
	if q.DeadLetterCount > 0 {
		found = append(found, "dead letters")
	}
	return strings.Join(found, ", ")
}

// writeTable writes rows in columns. The first column and the last leftColumns ones are
// aligned to the left, all others to the right.
func writeTable(out io.Writer, rows [][]string, leftColumns int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i >= len(row)-leftColumns {
				line.WriteString(cell + padding)
			} else {
				line.WriteString(padding + cell)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

func rate(r float64) string { return fmt.Sprintf("%.1f", r) }

// age formats the time from t to the snapshot.
func age(s *queuepb.Snapshot, t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return "-"
	}
	switch d := s.GetTime().AsTime().Sub(t.AsTime()); {
	case d < time.Second:
		return "<1s"
	case d < 100*time.Second:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 100*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}
