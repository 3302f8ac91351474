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

func testSharedQueue(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	const messages = 400
	var got received
	for range 4 {
		f.consume(f.newProcess(workTopology(0)), queue.Consumer{Queue: "work", Prefetch: 10, Handle: got.handle})
	}
	for i := range messages {
		f.publish(workMessage, fmt.Sprint(i))
	}
	f.until("all messages", got.atLeast(messages))
	f.untilDepth("work", "an empty queue", empty)
	distinct := map[string]bool{}
	for _, body := range got.texts() {
		distinct[body] = true
	}
	if len(got.all()) != messages || len(distinct) != messages {
		t.Errorf("got %d deliveries of %d messages, want %d of each", len(got.all()), len(distinct), messages)
	}
}

func testOrder(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
	}
	f.publish(workMessage, want...)
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 7, Handle: got.handle})
	f.until("all messages", got.atLeast(len(want)))
	if !slices.Equal(got.texts(), want) {
		t.Errorf("got order %v, want %v", got.texts(), want)
	}
}

func testPriority(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var got received
	allFetched := make(chan struct{})
	f.publish(workMessage, "1", "2", "3")
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 20, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		select {
		case <-allFetched:
		case <-ctx.Done():
		}
		return ctx.Err()
	}})
	f.until("a running handler", got.atLeast(1))
	// Wait for each fetch, so that all messages are buffered before the handler ends.
	for i, m := range []struct {
		priority int
		body     string
	}{{5, "urgent"}, {9, "most urgent"}, {0, "4"}} {
		f.publish(queue.Message{Exchange: "work", Priority: m.priority}, m.body)
		f.untilDepth("work", "all messages fetched", func(d queue.Depth) bool { return d.Unacknowledged == int64(4+i) })
	}
	close(allFetched)
	f.until("all messages", got.atLeast(6))
	if want := []string{"1", "most urgent", "urgent", "2", "3", "4"}; !slices.Equal(got.texts(), want) {
		t.Errorf("got order %v, want %v", got.texts(), want)
	}
}

func testDelay(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	start := time.Now()
	f.publish(queue.Message{Exchange: "work", Delay: 1500 * time.Millisecond}, "later")
	f.publish(workMessage, "now")
	f.until("the message that is not delayed", got.atLeast(1))
	if d := f.depth("work"); got.texts()[0] != "now" || (time.Since(start) < time.Second && d.Delayed != 1) {
		t.Errorf("got %q first and %d delayed messages, want %q and 1", got.texts()[0], d.Delayed, "now")
	}
	f.until("the delayed message", got.atLeast(2))
	if elapsed := time.Since(start); elapsed < 1500*time.Millisecond {
		t.Errorf("delivered after %s, want at least 1.5s", elapsed)
	}
}

func testPrefetch(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	f.publish(workMessage, "1", "2", "3", "4", "5", "6")
	var got received
	stop := f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 2, Prefetch: 3, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		<-ctx.Done()
		return ctx.Err()
	}})
	f.until("two running handlers", got.atLeast(2))
	f.untilDepth("work", "three held and three ready messages", func(d queue.Depth) bool { return d.Unacknowledged == 3 && d.Ready == 3 })
	stop()
	f.untilDepth("work", "six ready messages after draining", func(d queue.Depth) bool { return d.Ready == 6 && d.Unacknowledged == 0 })
	var again received
	f.consume(f.newProcess(workTopology(0)), queue.Consumer{Queue: "work", Handle: again.handle})
	f.until("all messages", again.atLeast(6))
	for _, d := range again.all() {
		if d.Count != 1 {
			t.Errorf("message %s: got delivery %d, want 1: draining does not count", text(d), d.Count)
		}
	}
}

func testConcurrency(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var running, peak atomic.Int64
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 3, Handle: func(ctx context.Context, d queue.Delivery) error {
		now := running.Add(1)
		defer running.Add(-1)
		for {
			before := peak.Load()
			if now <= before || peak.CompareAndSwap(before, now) {
				break
			}
		}
		got.add(d)
		// Give other handlers time to start.
		for deadline := time.Now().Add(20 * time.Millisecond); peak.Load() < 3 && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		return nil
	}})
	for i := range 60 {
		f.publish(workMessage, fmt.Sprint(i))
	}
	f.until("all messages", got.atLeast(60))
	if peak.Load() != 3 {
		t.Errorf("got at most %d running handlers, want 3", peak.Load())
	}
}

func testLeaseRenewal(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	const lease = 4 * time.Second // a busy machine still renews it in time
	var got received
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
		f.consume(f.newProcess(workTopology(0)), queue.Consumer{Queue: "work", Lease: lease, Handle: handle})
	}
	f.publish(workMessage, "long")
	f.until("a running handler", got.atLeast(1))
	start := time.Now()
	f.until("the time of two leases", func() bool { return time.Since(start) > 2*lease })
	close(finish)
	f.untilDepth("work", "the acknowledgement", empty)
	if len(got.all()) != 1 {
		t.Errorf("got %d deliveries, want 1", len(got.all()))
	}
}

func testDeclaredLater(t *testing.T, env *Env) {
	f := newFixture(t, env)
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	if err := f.engine.Declare(t.Context(), workTopology(0)); err != nil {
		t.Fatal(err)
	}
	f.publish(workMessage, "x")
	f.until("the message", got.atLeast(1))
}
