package queuetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

func oneConsumer(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	const messages = 400
	var got notes
	for range 4 {
		s.consume(s.process(one(0)), queue.Consumer{Queue: "work", Prefetch: 10, Handle: got.handle})
	}
	for i := range messages {
		s.publish(toWork, fmt.Sprint(i))
	}
	s.until("all messages", got.has(messages))
	s.untilDepth("work", "an empty queue", empty)
	distinct := map[string]bool{}
	for _, body := range got.texts() {
		distinct[body] = true
	}
	if len(got.all()) != messages || len(distinct) != messages {
		t.Errorf("%d deliveries of %d messages, want %d of each", len(got.all()), len(distinct), messages)
	}
}

func order(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
	}
	s.publish(toWork, want...)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 7, Handle: got.handle})
	s.until("all messages", got.has(len(want)))
	if !slices.Equal(got.texts(), want) {
		t.Errorf("order is %v", got.texts())
	}
}

func priority(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var got notes
	allHeld := make(chan struct{})
	s.publish(toWork, "1", "2", "3")
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 20, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		select {
		case <-allHeld:
		case <-ctx.Done():
		}
		return ctx.Err()
	}})
	s.until("a handler under way", got.has(1))
	// One fetch after the other, so that those before the last wait for the
	// handler when the last is seen here.
	for i, m := range []struct {
		priority int
		body     string
	}{{5, "urgent"}, {9, "most urgent"}, {0, "4"}} {
		s.publish(queue.Message{Exchange: "work", Priority: m.priority}, m.body)
		s.untilDepth("work", "all messages fetched", func(d queue.Depth) bool { return d.Unacknowledged == int64(4+i) })
	}
	close(allHeld)
	s.until("all messages", got.has(6))
	if want := []string{"1", "most urgent", "urgent", "2", "3", "4"}; !slices.Equal(got.texts(), want) {
		t.Errorf("they come as %v, want %v", got.texts(), want)
	}
}

func delay(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	began := time.Now()
	s.publish(queue.Message{Exchange: "work", Delay: 1500 * time.Millisecond}, "later")
	s.publish(toWork, "now")
	s.until("the message that is not delayed", got.has(1))
	if d := s.depth("work"); got.texts()[0] != "now" || (time.Since(began) < time.Second && d.Delayed != 1) {
		t.Errorf("first came %q, and %d are delayed", got.texts()[0], d.Delayed)
	}
	s.until("the delayed one", got.has(2))
	if waited := time.Since(began); waited < 1500*time.Millisecond {
		t.Errorf("it came after %s, before it was due", waited)
	}
}

func prefetch(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	s.publish(toWork, "1", "2", "3", "4", "5", "6")
	var got notes
	stop := s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 2, Prefetch: 3, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		<-ctx.Done()
		return ctx.Err()
	}})
	s.until("two handlers under way", got.has(2))
	s.untilDepth("work", "a prefetch of three, and the rest ready", func(d queue.Depth) bool { return d.Unacknowledged == 3 && d.Ready == 3 })
	stop()
	s.untilDepth("work", "all ready again", func(d queue.Depth) bool { return d.Ready == 6 && d.Unacknowledged == 0 })
	var again notes
	s.consume(s.process(one(0)), queue.Consumer{Queue: "work", Handle: again.handle})
	s.until("all messages", again.has(6))
	for _, d := range again.all() {
		if d.Count != 1 {
			t.Errorf("message %s counts as delivery %d: draining is none", text(d), d.Count)
		}
	}
}

func concurrency(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var under, most atomic.Int64
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 3, Handle: func(ctx context.Context, d queue.Delivery) error {
		now := under.Add(1)
		defer under.Add(-1)
		for {
			before := most.Load()
			if now <= before || most.CompareAndSwap(before, now) {
				break
			}
		}
		got.add(d)
		// The others get the time to begin.
		for deadline := time.Now().Add(20 * time.Millisecond); most.Load() < 3 && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		return nil
	}})
	for i := range 60 {
		s.publish(toWork, fmt.Sprint(i))
	}
	s.until("all messages", got.has(60))
	if most.Load() != 3 {
		t.Errorf("at most %d handlers were under way, want 3", most.Load())
	}
}

func longWork(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	const lease = 600 * time.Millisecond
	var got notes
	finish := make(chan struct{})
	handle := func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	for range 2 {
		s.consume(s.process(one(0)), queue.Consumer{Queue: "work", Lease: lease, Handle: handle})
	}
	s.publish(toWork, "long")
	s.until("a handler under way", got.has(1))
	began := time.Now()
	s.until("the end of three leases", func() bool { return time.Since(began) > 3*lease })
	close(finish)
	s.untilDepth("work", "the acknowledgement", empty)
	if len(got.all()) != 1 {
		t.Errorf("it was delivered %d times", len(got.all()))
	}
}

func declaredLater(t *testing.T, place *Place) {
	s := newSite(t, place)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	if err := s.engine.Declare(t.Context(), one(0)); err != nil {
		t.Fatal(err)
	}
	s.publish(toWork, "x")
	s.until("the message", got.has(1))
}
