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

// listDeadLetters lists the latest dead letters: a queue's, or all.
func listDeadLetters(ctx context.Context, q *queueAsk) error {
	request := &queuepb.ListDeadLettersRequest{PageSize: listed}
	if len(q.words) == 1 {
		request.Queue, request.Unroutable = meant(q.words[0]), q.words[0] == unroutable
	}
	answer, err := call(ctx, q.queues.ListDeadLetters, request)
	if err != nil {
		return explain(err)
	}
	writeDeadLetters(q.out, answer)
	return nil
}

func writeDeadLetters(out io.Writer, answer *queuepb.ListDeadLettersResponse) {
	if len(answer.DeadLetters) == 0 {
		fmt.Fprintln(out, "no dead letters")
		return
	}
	rows := [][]string{{"QUEUE", "ID", "DELIVERIES", "DIED", "TYPE", "ROUTING KEY", "ERROR"}}
	for _, d := range answer.DeadLetters {
		rows = append(rows, []string{called(d.Queue), fmt.Sprint(d.Id), fmt.Sprint(d.DeliveryCount), local(d.DeathTime), d.Type, d.RoutingKey, oneLine(d.Error)})
	}
	writeTable(out, rows, 4)
	if answer.NextPageToken != "" {
		fmt.Fprintf(out, "and older ones: these are the latest %d\n", len(answer.DeadLetters))
	}
}

// lineLength bounds an error where it has a line.
const lineLength = 100

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if all := []rune(text); len(all) > lineLength {
		return string(all[:lineLength-1]) + "…"
	}
	return text
}

func local(t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return "-"
	}
	return t.AsTime().Local().Format(time.DateTime)
}

// showDeadLetter shows a dead letter with its body and history.
func showDeadLetter(ctx context.Context, q *queueAsk) error {
	id, err := number(q.words[1])
	if err != nil {
		return err
	}
	answer, err := call(ctx, q.queues.GetDeadLetter, &queuepb.GetDeadLetterRequest{Queue: meant(q.words[0]), Id: id})
	if err != nil {
		return explain(err)
	}
	writeDeadLetter(q.out, answer.DeadLetter)
	return nil
}

func writeDeadLetter(out io.Writer, d *queuepb.DeadLetter) {
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, value)
		}
	}
	fact("queue", called(d.Queue))
	fact("id", fmt.Sprint(d.Id))
	fact("type", d.Type)
	fact("exchange", d.Exchange)
	fact("routing key", d.RoutingKey)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		fact("header", name+"="+d.Headers[name])
	}
	fact("published", local(d.PublishTime))
	fact("died", local(d.DeathTime))
	fact("deliveries", fmt.Sprint(d.DeliveryCount))
	fact("traceparent", d.Traceparent)
	fact("error", d.Error)
	if len(d.History) > 0 {
		fmt.Fprintln(out, "\nfailed deliveries")
	}
	for _, f := range d.History {
		fmt.Fprintf(out, "%4d  %s  %s  %s\n", f.DeliveryCount, local(f.Time), f.Host, oneLine(f.Error))
	}
	if d.Body != "" {
		fmt.Fprintf(out, "\nbody\n%s\n", readable(d.Body))
	}
}

// readable is a body with its JSON laid out; any other is as it is.
func readable(body string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(body), "", "  ") != nil {
		return body
	}
	return b.String()
}

// chosen returns the ids that were named; none, with --all.
func (q *queueAsk) chosen() (ids []int64, err error) {
	for _, word := range q.words[1:] {
		id, err := number(word)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	switch {
	case q.all && len(ids) > 0:
		return nil, errors.New("say either which ids or --all")
	case !q.all && len(ids) == 0:
		return nil, fmt.Errorf("say which: ids, or --all for every dead letter of %s", q.words[0])
	}
	return ids, nil
}

// redrive has dead letters delivered again.
func redrive(ctx context.Context, q *queueAsk) error {
	ids, err := q.chosen()
	if err != nil {
		return err
	}
	answer, err := call(ctx, q.queues.RedriveDeadLetters, &queuepb.RedriveDeadLettersRequest{Queue: meant(q.words[0]), Ids: ids, All: q.all})
	if err != nil {
		return explain(err)
	}
	q.settled(answer.RedrivenCount, len(ids), "delivered again")
	return nil
}

// discard deletes dead letters.
func discard(ctx context.Context, q *queueAsk) error {
	ids, err := q.chosen()
	if err != nil {
		return err
	}
	answer, err := call(ctx, q.queues.DiscardDeadLetters, &queuepb.DiscardDeadLettersRequest{Queue: meant(q.words[0]), Ids: ids, All: q.all})
	if err != nil {
		return explain(err)
	}
	q.settled(answer.DiscardedCount, len(ids), "deleted")
	return nil
}

// settled says how many dead letters something was done to, of so many that were
// named.
func (q *queueAsk) settled(n int64, named int, what string) {
	fmt.Fprintf(q.out, "%d of %s %s\n", n, called(meant(q.words[0])), what)
	if missing := int64(named) - n; missing > 0 {
		fmt.Fprintf(q.out, "%d not there (any more): see \"talksctl queue dead-letters %s\"\n", missing, q.words[0])
	}
}
