package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// showTopology draws the topology.
func showTopology(ctx context.Context, q *queueAsk) error {
	answer, err := call(ctx, q.queues.GetQueues, &queuepb.GetQueuesRequest{})
	if err != nil {
		return explain(err)
	}
	writeTopology(q.out, answer.Snapshot)
	return nil
}

// writeTopology draws each exchange with its producers, and below it its bindings,
// each with its pattern, leading to a queue and whoever consumes that.
func writeTopology(out io.Writer, s *queuepb.Snapshot) {
	queues := map[string]*queuepb.Queue{}
	pattern, queue := 0, 0 // how wide they are
	for _, q := range s.Queues {
		queues[q.Name] = q
		queue = max(queue, utf8.RuneCountInString(q.Name))
	}
	for _, b := range s.Bindings {
		pattern = max(pattern, utf8.RuneCountInString(b.Pattern))
	}
	bound := map[string]bool{}
	for _, e := range s.Exchanges {
		producers := strings.Join(e.Producers, ", ")
		if producers != "" {
			producers += " → "
		}
		fmt.Fprintf(out, "%s%s (%s)\n", producers, e.Name, e.Type)
		var of []*queuepb.Binding
		for _, b := range s.Bindings {
			if b.Exchange == e.Name {
				of = append(of, b)
			}
		}
		for i, b := range of {
			bound[b.Queue] = true
			branch := "├"
			if i == len(of)-1 {
				branch = "└"
			}
			line := b.Pattern + " "
			if b.Pattern == "" {
				line = ""
			}
			fmt.Fprintf(out, "  %s─ %s%s→ %-*s  → %s\n", branch, line, strings.Repeat("─", pattern+2-utf8.RuneCountInString(line)), queue, b.Queue, consumedBy(queues[b.Queue]))
		}
		fmt.Fprintln(out)
	}
	for _, q := range s.Queues {
		if !bound[q.Name] {
			fmt.Fprintf(out, "no binding → %-*s  → %s\n", queue, q.Name, consumedBy(q))
		}
	}
}

// consumedBy says who consumes a queue.
func consumedBy(q *queuepb.Queue) string {
	if len(q.GetConsumers()) == 0 {
		return "no consumer"
	}
	var hosts []string
	for _, c := range q.Consumers {
		if !slices.Contains(hosts, c.Host) {
			hosts = append(hosts, c.Host)
		}
	}
	slices.Sort(hosts)
	text := "1 process on "
	if n := len(q.Consumers); n > 1 {
		text = fmt.Sprintf("%d processes on ", n)
	}
	text += strings.Join(hosts, ", ")
	if q.Exclusive {
		text += ", each its own queue"
	}
	return text
}
