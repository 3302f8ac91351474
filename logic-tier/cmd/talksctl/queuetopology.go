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
func showTopology(ctx context.Context, q *queueCall) error {
	response, err := call(ctx, q.queues.GetQueues, &queuepb.GetQueuesRequest{})
	if err != nil {
		return readable(err)
	}
	writeTopology(q.out, response.Snapshot)
	return nil
}

// writeTopology draws each exchange with its producers, followed by its bindings with their
// pattern, queue and consumers.
func writeTopology(out io.Writer, s *queuepb.Snapshot) {
	queues := map[string]*queuepb.Queue{}
	patternWidth, queueWidth := 0, 0
	for _, q := range s.Queues {
		queues[q.Name] = q
		queueWidth = max(queueWidth, utf8.RuneCountInString(q.Name))
	}
	for _, b := range s.Bindings {
		patternWidth = max(patternWidth, utf8.RuneCountInString(b.Pattern))
	}
	hasBinding := map[string]bool{}
	for _, e := range s.Exchanges {
		producers := strings.Join(e.Producers, ", ")
		if producers != "" {
			producers += " → "
		}
		fmt.Fprintf(out, "%s%s (%s)\n", producers, e.Name, e.Type)
		var bindings []*queuepb.Binding
		for _, b := range s.Bindings {
			if b.Exchange == e.Name {
				bindings = append(bindings, b)
			}
		}
		for i, b := range bindings {
			hasBinding[b.Queue] = true
			branch := "├"
			if i == len(bindings)-1 {
				branch = "└"
			}
			line := b.Pattern + " "
			if b.Pattern == "" {
				line = ""
			}
			fmt.Fprintf(out, "  %s─ %s%s→ %-*s  → %s\n", branch, line, strings.Repeat("─", patternWidth+2-utf8.RuneCountInString(line)), queueWidth, b.Queue, describeConsumers(queues[b.Queue]))
		}
		fmt.Fprintln(out)
	}
	for _, q := range s.Queues {
		if !hasBinding[q.Name] {
			fmt.Fprintf(out, "no binding → %-*s  → %s\n", queueWidth, q.Name, describeConsumers(q))
		}
	}
}

// describeConsumers describes the consumers of a queue.
func describeConsumers(q *queuepb.Queue) string {
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
		text += ", each with its own queue"
	}
	return text
}
