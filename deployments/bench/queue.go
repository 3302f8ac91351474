package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Targets of the queue in Postgres.
const (
	drainOfRiver     = 3.0
	drainOfWatermill = 1.0
	enqueueOfRiver   = 2.5
	handledMiddle    = 5 * time.Millisecond
	handledLate      = 15 * time.Millisecond // 99 of 100 are there
)

const (
	queueMessages   = 40_000
	queueWorkers    = 4
	queuePublishers = 8
	// queuePace is how many messages a second come where the way of each is timed:
	// few, so that none waits for another.
	queuePace = 50
)

// drainTimeout bounds how long messages that are there take to be handled.
const drainTimeout = 2 * time.Minute

// consume works messages, with handlers that do nothing but call handle, until
// stop is called.
type consume func(ctx context.Context, handle func(body int64)) (stop func() error, err error)

// contender is a queue in Postgres as a program uses it: ours, or a peer.
type contender struct {
	name, settings string
	// publish publishes a message that nothing goes with, which is a commit;
	// publishWith does so in a transaction that is begun and committed beside, as
	// whoever has more to change does.
	publish, publishWith func(ctx context.Context, body int64) error
	consume              consume
	// left asks whether there are messages that are not worked and settled; empty
	// removes what there is, worked or not.
	left, empty string
	close       func() error

	// Of a peer: how many times as fast ours is to be; 0: not said.
	drain, enqueue float64
}

// contended is what a contender did, a value a round.
type contended struct{ enqueue, enqueueWith, drain, middle, late []float64 }

// measureQueue has our engine and its peers do the same in turn, in the same
// Postgres.
func measureQueue(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(tierGarbage))
	var all []*contender
	defer func() {
		for _, c := range all {
			_ = c.close()
		}
	}()
	for _, open := range []func(context.Context, *site, *sql.DB) (*contender, error){
		openPostgresQueue, openRiverOnPQ, openRiverOnPgx, openWatermillQueue, openWatermillLog,
	} {
		c, err := open(ctx, s, db)
		if err != nil {
			return err
		}
		all = append(all, c)
		fmt.Printf("  %s: %s\n", c.name, c.settings)
	}
	found := make([]contended, len(all))
	for range b.runs {
		for i, c := range all {
			if err := b.contend(ctx, s, db, c, &found[i]); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for i, c := range all[1:] {
		b.table("queue, "+c.name, c.name, c.rows(found[0], found[i+1])...)
	}
	return nil
}

// tierGarbage is GOGC as the logic tier has it, for all alike.
const tierGarbage = 400

// contend enqueues as many messages as there are, each in a commit of its own,
// drains them, and times some on an empty queue; then it enqueues fewer beside
// other changes.
func (b *bench) contend(ctx context.Context, s *site, db *sql.DB, c *contender, found *contended) error {
	if _, err := db.ExecContext(ctx, c.empty); err != nil {
		return err
	}
	n := b.size(queueMessages, 2_000)
	took, err := enqueueAll(ctx, n, c.publish)
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	found.enqueue = append(found.enqueue, float64(n)/took.Seconds())
	if err := s.settle(ctx); err != nil {
		return err
	}
	if took, err = c.drainAll(ctx, db, n); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	found.drain = append(found.drain, float64(n)/took.Seconds())
	if _, err := db.ExecContext(ctx, c.empty); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	ways, err := c.time(ctx, queuePace*b.size(10, 2))
	if err != nil {
		return fmt.Errorf("one at a time: %w", err)
	}
	found.middle = append(found.middle, ways[len(ways)/2])
	found.late = append(found.late, ways[len(ways)*99/100])
	n /= 4
	if took, err = enqueueAll(ctx, n, c.publishWith); err != nil {
		return fmt.Errorf("enqueue beside changes: %w", err)
	}
	found.enqueueWith = append(found.enqueueWith, float64(n)/took.Seconds())
	return nil
}

// enqueueAll publishes n messages from several publishers while nobody consumes.
func enqueueAll(ctx context.Context, n int, publish func(context.Context, int64) error) (time.Duration, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var publishers sync.WaitGroup
	began := time.Now()
	for range queuePublishers {
		publishers.Go(func() {
			for i := next.Add(1); i <= int64(n) && failed.Load() == nil; i = next.Add(1) {
				if err := publish(ctx, i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	publishers.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return took, nil
}

// handleAll handles n messages that are there, and returns when the first was in a
// handler. The consumer goes on until stop.
func handleAll(ctx context.Context, n int, consume consume) (first time.Time, stop func() error, err error) {
	var handled, began atomic.Int64
	all := make(chan struct{})
	stop, err = consume(ctx, func(int64) {
		if began.Load() == 0 {
			began.CompareAndSwap(0, time.Now().UnixNano())
		}
		if handled.Add(1) == int64(n) {
			close(all)
		}
	})
	if err != nil {
		return first, nil, err
	}
	select {
	case <-all:
		return time.Unix(0, began.Load()), stop, nil
	case <-time.After(drainTimeout):
		err = fmt.Errorf("%d of %d are handled in %s", handled.Load(), n, drainTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return first, nil, errors.Join(err, stop())
}

// drainAll works n messages that are there, and returns how long it took from the
// first in a handler to none left in the database.
func (c *contender) drainAll(ctx context.Context, db *sql.DB, n int) (time.Duration, error) {
	first, stop, err := handleAll(ctx, n, c.consume)
	if err != nil {
		return 0, err
	}
	settling, done := context.WithTimeout(ctx, drainTimeout)
	defer done()
	for left := true; left; {
		if err := db.QueryRowContext(settling, c.left).Scan(&left); err != nil {
			return 0, errors.Join(fmt.Errorf("what is left: %w", err), stop())
		}
		if left {
			time.Sleep(time.Millisecond)
		}
	}
	took := time.Since(first)
	return took, stop()
}

// time publishes n messages at a pace, and returns how long each was on its way,
// from before it was published until it was in a handler: milliseconds, sorted.
func (c *contender) time(ctx context.Context, n int) ([]float64, error) {
	ctx, done := context.WithTimeout(ctx, time.Duration(n)*time.Second/queuePace+time.Minute)
	defer done()
	n += queuePace // the first second's are not counted: connections and plans are made
	var mu sync.Mutex
	var ways []float64
	all := make(chan struct{})
	stop, err := c.consume(ctx, func(began int64) {
		way := time.Since(time.Unix(0, began)).Seconds() * 1e3
		mu.Lock()
		defer mu.Unlock()
		if ways = append(ways, way); len(ways) == n {
			close(all)
		}
	})
	if err != nil {
		return nil, err
	}
	failed := make(chan error, n)
	pace := time.NewTicker(time.Second / queuePace)
	defer pace.Stop()
	for range n {
		<-pace.C
		go func() {
			if err := c.publish(ctx, time.Now().UnixNano()); err != nil {
				failed <- err
			}
		}()
	}
	select {
	case <-all:
		err = stop()
	case err = <-failed:
		_ = stop()
	case <-ctx.Done():
		err = ctx.Err()
		_ = stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ways) < n {
		return nil, fmt.Errorf("%d of %d are handled: %w", len(ways), n, err)
	}
	return slices.Sorted(slices.Values(ways[queuePace:])), err
}

// rows compares ours with a peer's.
func (c *contender) rows(ours, theirs contended) []row {
	within := func(what string, a, b []float64, target time.Duration) row {
		return row{what: what, ours: spread(a, "%.1f ms"), against: spread(b, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(a)/median(b)),
			target: fmt.Sprintf("under %v", target), met: median(a) < target.Seconds()*1e3}
	}
	return []row{
		faster(fmt.Sprintf("drain, messages a second, %d workers", queueWorkers), ours.drain, theirs.drain, c.drain),
		faster(fmt.Sprintf("enqueue, commits a second, %d publishers", queuePublishers), ours.enqueue, theirs.enqueue, c.enqueue),
		faster("enqueue, each in a transaction begun and committed beside", ours.enqueueWith, theirs.enqueueWith, 0),
		within(fmt.Sprintf("enqueue to handled at %d a second, median", queuePace), ours.middle, theirs.middle, handledMiddle),
		within("the same, 99 of 100", ours.late, theirs.late, handledLate),
	}
}
