package queuetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

func testRetry(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	f.publish(workMessage, "x")
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		switch d.Count {
		case 1:
			return errors.New("first failure")
		case 2:
			panic("second failure")
		}
		return nil
	}})
	f.until("three deliveries", got.atLeast(3))
	f.untilDepth("work", "the acknowledgement", empty)
	for i, d := range got.all() {
		if d.Count != i+1 || d.ID != got.all()[0].ID {
			t.Errorf("got delivery %d of message %d, want delivery %d of message %d", d.Count, d.ID, i+1, got.all()[0].ID)
		}
	}
}

func testPoison(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(3))
	f.publish(workMessage, "poison", "rejected", "good")
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		switch text(d) {
		case "poison":
			return errors.New("bad \x00 \xff every time")
		case "rejected":
			return queue.Reject(errors.New("rejected"))
		}
		return nil
	}})
	f.until("two dead letters", func() bool { return f.deadLetters("work") == 2 })
	f.untilDepth("work", "an empty queue", empty)
	deliveries := map[string]int{}
	for _, body := range got.texts() {
		deliveries[body]++
	}
	if deliveries["poison"] != 3 || deliveries["rejected"] != 1 || deliveries["good"] != 1 {
		t.Errorf("got deliveries %v, want 3 of poison, the limit, and 1 of the others", deliveries)
	}
	for _, d := range got.all() {
		if text(d) == "good" {
			continue
		}
		letter, err := ledger.FindDeadLetter(t.Context(), f.Queue, "work", d.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"poison": 3, "rejected": 1}[text(d)]
		if letter.Count != want || len(letter.History) != want || letter.Exchange != "work" || !slices.Equal(letter.Body, d.Body) {
			t.Errorf("got dead letter %+v, want %d deliveries", letter, want)
			continue
		}
		last := letter.History[want-1]
		if last.Count != want || last.Host == "" || last.At.IsZero() || last.Error != letter.Error || !(strings.HasSuffix(last.Error, "every time") || last.Error == "rejected") {
			t.Errorf("got last failure %+v, want that of delivery %d", last, want)
		}
	}
}

func testRedrive(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	fixed := make(chan struct{})
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		select {
		case <-fixed:
			got.add(d)
			return nil
		default:
			return queue.Reject(errors.New("not yet"))
		}
	}})
	first, err := f.tryPublish(workMessage, "one")
	if err != nil {
		t.Fatal(err)
	}
	f.publish(workMessage, "two", "three", "four")
	f.until("four dead letters", func() bool { return f.deadLetters("work") == 4 })
	close(fixed)
	if n, err := f.engine.Redrive(t.Context(), "work", []int64{first, 4711}); n != 1 || err != nil {
		t.Fatalf("redrive of one existing id: got %d, %v; want 1", n, err)
	}
	f.until("the redriven message", got.contains("one"))
	if d := got.all()[0]; d.Count != 1 || d.ID != first {
		t.Errorf("got delivery %d of message %d, want delivery 1 of %d", d.Count, d.ID, first)
	}
	letters, err := ledger.ListDeadLetters(t.Context(), f.Queue, nil, ledger.FirstDeadLetterKey(), 10)
	if err != nil || len(letters) != 3 || letters[0].Error != "not yet" {
		t.Fatalf("got %d dead letters, %v; want 3", len(letters), err)
	}
	if n, err := ledger.DiscardDeadLetters(t.Context(), f.Queue, "work", []int64{letters[0].ID}); n != 1 || err != nil {
		t.Fatalf("discard: got %d, %v; want 1", n, err)
	}
	if n, err := f.engine.Redrive(t.Context(), "work", nil); n != 2 || err != nil {
		t.Fatalf("redrive of all: got %d, %v; want 2", n, err)
	}
	f.until("the other messages", got.atLeast(3))
	if n := f.deadLetters("work"); n != 0 {
		t.Errorf("got %d dead letters, want none", n)
	}
}

func testIdempotent(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(3))
	f.createEffectTable()
	var got received
	effect := effectHandler(f.Module, func(queue.Delivery) {})
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		err := effect(ctx, d)
		if err == nil && d.Count == 1 && text(d) == "not acknowledged" {
			err = errors.New("crash before the acknowledgement")
		}
		return err
	}})
	f.publish(workMessage, "not acknowledged", "acknowledged")
	f.until("a second delivery", got.atLeast(3))
	f.untilDepth("work", "the acknowledgements", empty)
	if n := f.count("select count(*) from talks.effect"); n != 2 {
		t.Errorf("got %d effects of two messages, want 2", n)
	}
	// A StringValue must be UTF-8, so this body is invalid and rejected.
	err := f.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		_, err := f.engine.Publish(t.Context(), tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.Bytes([]byte{0xff})})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.until("a dead letter", func() bool {
		return f.count("select count(*) from queue.dead_letter where last_error like '%not a valid StringValue%' and delivery_count = 1") == 1
	})
}
