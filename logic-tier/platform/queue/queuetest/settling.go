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

func failing(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	s.publish(toWork, "x")
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		switch d.Count {
		case 1:
			return errors.New("not now")
		case 2:
			panic("nor now")
		}
		return nil
	}})
	s.until("three deliveries", got.has(3))
	s.untilDepth("work", "the acknowledgement", empty)
	for i, d := range got.all() {
		if d.Count != i+1 || d.ID != got.all()[0].ID {
			t.Errorf("delivery %d counts as %d, of message %d", i+1, d.Count, d.ID)
		}
	}
}

func poison(t *testing.T, place *Place) {
	s := newSite(t, place, one(3))
	s.publish(toWork, "poison", "rejected", "good")
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		switch text(d) {
		case "poison":
			return errors.New("bad \x00 \xff every time")
		case "rejected":
			return queue.Reject(errors.New("never will"))
		}
		return nil
	}})
	s.until("two dead letters", func() bool { return s.dead("work") == 2 })
	s.untilDepth("work", "nothing left", empty)
	tries := map[string]int{}
	for _, body := range got.texts() {
		tries[body]++
	}
	if tries["poison"] != 3 || tries["rejected"] != 1 || tries["good"] != 1 {
		t.Errorf("tried %v; want poison 3 times, its limit, and the others once", tries)
	}
	for _, d := range got.all() {
		if text(d) == "good" {
			continue
		}
		letter, err := ledger.FindDeadLetter(t.Context(), s.Queue, "work", d.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"poison": 3, "rejected": 1}[text(d)]
		if letter.Count != want || len(letter.History) != want || letter.Exchange != "work" || !slices.Equal(letter.Body, d.Body) {
			t.Errorf("the dead letter is %+v, want %d deliveries", letter, want)
			continue
		}
		last := letter.History[want-1]
		if last.Count != want || last.Host == "" || last.At.IsZero() || last.Error != letter.Error || !(strings.HasSuffix(last.Error, "every time") || last.Error == "never will") {
			t.Errorf("its last failure is %+v", last)
		}
	}
}

func redrive(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	heal := make(chan struct{})
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		select {
		case <-heal:
			got.add(d)
			return nil
		default:
			return queue.Reject(errors.New("not yet"))
		}
	}})
	first, err := s.tryPublish(toWork, "one")
	if err != nil {
		t.Fatal(err)
	}
	s.publish(toWork, "two", "three", "four")
	s.until("four dead letters", func() bool { return s.dead("work") == 4 })
	close(heal)
	if n, err := s.engine.Redrive(t.Context(), "work", []int64{first, 4711}); n != 1 || err != nil {
		t.Fatalf("%d were delivered again, %v; want the one that is there", n, err)
	}
	s.until("it", got.holds("one"))
	if d := got.all()[0]; d.Count != 1 || d.ID != first {
		t.Errorf("it is delivery %d of message %d, want the first again", d.Count, d.ID)
	}
	letters, err := ledger.ListDeadLetters(t.Context(), s.Queue, nil, ledger.FirstDeadLetterKey(), 10)
	if err != nil || len(letters) != 3 || letters[0].Error != "not yet" {
		t.Fatalf("%d letters are left, %v", len(letters), err)
	}
	if n, err := ledger.DiscardDeadLetters(t.Context(), s.Queue, "work", []int64{letters[0].ID}); n != 1 || err != nil {
		t.Fatalf("%d discarded, %v", n, err)
	}
	if n, err := s.engine.Redrive(t.Context(), "work", nil); n != 2 || err != nil {
		t.Fatalf("%d were delivered again, %v; want all that are left", n, err)
	}
	s.until("the rest", got.has(3))
	if s.dead("work") != 0 {
		t.Error("dead letters are left")
	}
}

func idempotent(t *testing.T, place *Place) {
	s := newSite(t, place, one(3))
	s.effects()
	var got notes
	effect := affect(s.Module, func(queue.Delivery) {})
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		err := effect(ctx, d)
		if err == nil && d.Count == 1 && text(d) == "dies before it acknowledges" {
			err = errors.New("as if it had died")
		}
		return err
	}})
	s.publish(toWork, "dies before it acknowledges", "lives")
	s.until("a second delivery", got.has(3))
	s.untilDepth("work", "the acknowledgements", empty)
	if n := s.count("select count(*) from talks.effect"); n != 2 {
		t.Errorf("%d effects of two messages", n)
	}
	// A byte that no text has is no string: what is no message of the type is dead
	// at once.
	err := s.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		_, err := s.engine.Publish(t.Context(), tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.Bytes([]byte{0xff})})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.until("a dead letter", func() bool {
		return s.count("select count(*) from queue.dead_letter where last_error like '%not a valid StringValue%' and delivery_count = 1") == 1
	})
}
