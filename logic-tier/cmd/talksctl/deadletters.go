package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// listDeadLetters lists the latest dead letters of one queue, or of all queues.
func listDeadLetters(ctx context.Context, q *queueCall) error {
	request := &queuepb.ListDeadLettersRequest{PageSize: pageSize}
	if len(q.args) == 1 {
		request.Queue, request.Unroutable = canonicalName(q.args[0]), q.args[0] == unroutable
	}
	response, err := call(ctx, q.queues.ListDeadLetters, request)
	if err != nil {
		return readable(err)
	}
	writeDeadLetters(q.out, response)
	return nil
}

func writeDeadLetters(out io.Writer, response *queuepb.ListDeadLettersResponse) {
	if len(response.DeadLetters) == 0 {
		fmt.Fprintln(out, "No dead letters.")
		return
	}
	rows := [][]string{{"QUEUE", "ID", "DELIVERIES", "DEAD-LETTERED", "TYPE", "ROUTING KEY", "ERROR"}}
	for _, d := range response.DeadLetters {
		rows = append(rows, []string{displayName(d.Queue), fmt.Sprint(d.Id), fmt.Sprint(d.DeliveryCount), localTime(d.DeathTime), d.Type, d.RoutingKey, oneLine(d.Error)})
	}
	writeTable(out, rows, 4)
	if response.NextPageToken != "" {
		fmt.Fprintf(out, "Showing the latest %d. There are older ones.\n", len(response.DeadLetters))
	}
}

// maxErrorLength bounds an error in a table, in characters.
const maxErrorLength = 100

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxErrorLength {
		return string(runes[:maxErrorLength-1]) + "…"
	}
	return text
}

func localTime(t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return "-"
	}
	return t.AsTime().Local().Format(time.DateTime)
}

// showDeadLetter shows a dead letter with its body and failed deliveries.
func showDeadLetter(ctx context.Context, q *queueCall) error {
	id, err := parseID(q.args[1])
	if err != nil {
		return err
	}
	response, err := call(ctx, q.queues.GetDeadLetter, &queuepb.GetDeadLetterRequest{Queue: canonicalName(q.args[0]), Id: id})
	if err != nil {
		return readable(err)
	}
	writeDeadLetter(q.out, response.DeadLetter)
	return nil
}

func writeDeadLetter(out io.Writer, d *queuepb.DeadLetter) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-13s %s\n", name, value)
		}
	}
	field("queue", displayName(d.Queue))
	field("id", fmt.Sprint(d.Id))
	field("type", d.Type)
	field("exchange", d.Exchange)
	field("routing key", d.RoutingKey)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		field("header", name+"="+d.Headers[name])
	}
	field("published", localTime(d.PublishTime))
	field("dead-lettered", localTime(d.DeathTime))
	field("deliveries", fmt.Sprint(d.DeliveryCount))
	field("traceparent", d.Traceparent)
	field("error", d.Error)
	if len(d.History) > 0 {
		fmt.Fprintln(out, "\nfailed deliveries")
	}
	for _, f := range d.History {
		fmt.Fprintf(out, "%4d  %s  %s  %s\n", f.DeliveryCount, localTime(f.Time), f.Host, oneLine(f.Error))
	}
	if d.Body != "" {
		fmt.Fprintf(out, "\nbody\n%s\n", formatBody(d.Body))
	}
}

// formatBody indents a JSON body, and returns any other body unchanged.
func formatBody(body string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(body), "", "  ") != nil {
		return body
	}
	return b.String()
}

// selectedIDs parses the ids on the command line. It returns none for --all.
func (q *queueCall) selectedIDs() (ids []int64, err error) {
	for _, arg := range q.args[1:] {
		id, err := parseID(arg)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	switch {
	case q.all && len(ids) > 0:
		return nil, errors.New("ids and --all are mutually exclusive")
	case !q.all && len(ids) == 0:
		return nil, fmt.Errorf("dead letters required: list their ids, or use --all for every dead letter of %s", q.args[0])
	}
	return ids, nil
}

// redrive moves dead letters back to their queue.
func redrive(ctx context.Context, q *queueCall) error {
	ids, err := q.selectedIDs()
	if err != nil {
		return err
	}
	response, err := call(ctx, q.queues.RedriveDeadLetters, &queuepb.RedriveDeadLettersRequest{Queue: canonicalName(q.args[0]), Ids: ids, All: q.all})
	if err != nil {
		return readable(err)
	}
	q.reportCount("Redrove", response.RedrivenCount, len(ids))
	return nil
}

// discard deletes dead letters.
func discard(ctx context.Context, q *queueCall) error {
	ids, err := q.selectedIDs()
	if err != nil {
		return err
	}
	response, err := call(ctx, q.queues.DiscardDeadLetters, &queuepb.DiscardDeadLettersRequest{Queue: canonicalName(q.args[0]), Ids: ids, All: q.all})
	if err != nil {
		return readable(err)
	}
	q.reportCount("Deleted", response.DiscardedCount, len(ids))
	return nil
}

// reportCount prints how many dead letters were processed, and how many of the requested
// ones were not found.
func (q *queueCall) reportCount(verb string, n int64, requested int) {
	noun := "dead letters"
	if n == 1 {
		noun = "dead letter"
	}
	fmt.Fprintf(q.out, "%s %d %s of %s.\n", verb, n, noun, q.args[0])
	if missing := int64(requested) - n; missing > 0 {
		fmt.Fprintf(q.out, "%d not found: see \"talksctl queue dead-letters %s\".\n", missing, q.args[0])
	}
}
