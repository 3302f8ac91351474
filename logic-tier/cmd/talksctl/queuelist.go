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

// listQueues lists the queues: once, or every second until it is interrupted.
func listQueues(ctx context.Context, q *queueAsk) error {
	if q.watch {
		return watchQueues(ctx, q)
	}
	s, err := measured(ctx, q.client)
	if err != nil {
		return explain(err)
	}
	writeQueues(q.out, s)
	return nil
}

// secondLook is how long the second snapshot is waited for.
const secondLook = 3 * time.Second

// measured returns the second snapshot of those that come every second: the first
// has no rates when nobody watched before. Should it not come, the first has to do.
func measured(ctx context.Context, c *client) (*queuepb.Snapshot, error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	limit := time.AfterFunc(callTimeout, done)
	defer limit.Stop()
	stream, err := c.queues.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	limit.Reset(secondLook)
	if second, err := stream.Recv(); err == nil {
		return second.Snapshot, nil
	}
	return first.Snapshot, nil
}

// watchQueues lists the queues as they change: on a terminal in one place,
// elsewhere one below the other. It survives a logic tier that is away.
func watchQueues(ctx context.Context, q *queueAsk) error {
	terminal := isTerminal(q.out)
	for since := time.Now(); ; {
		stream, err := q.queues.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
		for err == nil {
			var answer *queuepb.WatchQueuesResponse
			if answer, err = stream.Recv(); err == nil {
				since = time.Now()
				var page bytes.Buffer
				writeQueues(&page, answer.Snapshot)
				if _, err := q.out.Write(repaint(page.Bytes(), terminal)); err != nil {
					return err
				}
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil // it was looked at long enough
		case !interrupted(err) || time.Since(since) > patience:
			return explain(err)
		}
		rest(ctx)
	}
}

// repaint makes a terminal show a page in the place of the one before, without
// flicker: from the top, each line to its end, and nothing below.
func repaint(page []byte, terminal bool) []byte {
	if !terminal {
		return append(page, '\n')
	}
	page = bytes.ReplaceAll(page, []byte("\n"), []byte("\x1b[K\n"))
	return slices.Concat([]byte("\x1b[H"), page, []byte("\x1b[J"))
}

func writeQueues(out io.Writer, s *queuepb.Snapshot) {
	fmt.Fprintln(out, headline(s))
	fmt.Fprintln(out)
	rows := [][]string{{"QUEUE", "READY", "DELAYED", "UNACKED", "OLDEST", "IN/S", "OUT/S", "REDELIVERED", "DEAD", "", ""}}
	var consumers [][]string
	for _, q := range s.Queues {
		rows = append(rows, []string{
			q.Name, fmt.Sprint(q.ReadyCount), fmt.Sprint(q.DelayedCount), fmt.Sprint(q.UnacknowledgedCount), age(s, q.OldestPublishTime),
			rate(q.InRate), rate(q.OutRate), fmt.Sprint(q.RedeliveredCount), fmt.Sprint(q.DeadLetterCount), "", stands(q),
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
		fmt.Fprintln(out, "Nobody consumes: what comes in waits. Start logic-tier serve or logic-tier work.")
		return
	}
	slices.SortFunc(consumers, func(a, b []string) int { return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[6], b[6])) })
	writeTable(out, append([][]string{{"CONSUMER OF", "PREFETCH", "CONCURRENCY", "HOLDS", "ACKNOWLEDGED", "HOST", "PROCESS"}}, consumers...), 2)
}

// headline is what is to be said of all queues.
func headline(s *queuepb.Snapshot) string {
	parts := []string{s.Engine}
	if s.Engine == "rabbitmq" {
		broker := "the broker answers"
		if !s.BrokerUp {
			broker = "THE BROKER IS AWAY: " + s.BrokerProblem
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

// A backlog grows when more than a handful wait and clearly more come in than go
// out: two rates that are taken over seconds are never quite the same.
const (
	backlog = 20
	growth  = 1.1
)

// stands says what there is to worry about.
func stands(q *queuepb.Queue) string {
	var worries []string
	switch {
	case len(q.Consumers) == 0:
		worries = append(worries, "no consumer")
	case q.ReadyCount > backlog && q.InRate > growth*q.OutRate:
		worries = append(worries, "backlog grows")
	}
	if q.DeadLetterCount > 0 {
		worries = append(worries, "dead letters")
	}
	return strings.Join(worries, ", ")
}

// writeTable writes rows in columns: the first to the left, numbers to the right,
// the last so many to the left again.
func writeTable(out io.Writer, rows [][]string, texts int) {
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
			room := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i >= len(row)-texts {
				line.WriteString(cell + room)
			} else {
				line.WriteString(room + cell)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

func rate(r float64) string { return fmt.Sprintf("%.1f", r) }

// age returns how long before the snapshot something was.
func age(s *queuepb.Snapshot, of *timestamppb.Timestamp) string {
	if !of.IsValid() {
		return "-"
	}
	switch d := s.GetTime().AsTime().Sub(of.AsTime()); {
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
