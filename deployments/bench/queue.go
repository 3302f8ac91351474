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
	riverDrainRatio     = 3.0
	watermillDrainRatio = 1.0
	riverEnqueueRatio   = 2.5
	medianLatency       = 5 * time.Millisecond
	p99Latency          = 15 * time.Millisecond // 99th percentile
)

const (
	queueMessages   = 40_000
	queueWorkers    = 4
	queuePublishers = 8
	// latencyRate is the number of messages a second when latency is measured, low enough that
	// no message waits for another.
	latencyRate = 50
)

// drainTimeout bounds the time to handle all enqueued messages.
const drainTimeout = 2 * time.Minute

// consume starts a consumer whose handlers only call handle. It runs until stop is called.
type consume func(ctx context.Context, handle func(body int64)) (stop func() error, err error)

// contender is a queue in Postgres: ours, or a peer.
type contender struct {
	name, settings string
	// publish publishes a message in its own commit. publishWith publishes it in a transaction
	// with its own begin and commit statements, as a program does that changes other rows too.
	publish, publishWith func(ctx context.Context, body int64) error
	consume              consume
	// pending is a query that returns whether unsettled messages exist. clear is a statement
	// that deletes all messages.
	pending, clear string
	close          func() error

	// Targets of our rates relative to this peer; 0 means none.
	drain, enqueue float64
}

// queueResult is the result of a contender, one value for each round.
type queueResult struct{ enqueue, enqueueWith, drain, p50, p99 []float64 }

// measureQueue runs the same load on our engine and its peers in turn, in the same Postgres.
func measureQueue(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(tierGCPercent))
	var contenders []*contender
	defer func() {
		for _, c := range contenders {
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
		contenders = append(contenders, c)
		fmt.Printf("  %s: %s\n", c.name, c.settings)
	}
	results := make([]queueResult, len(contenders))
	for range b.runs {
		for i, c := range contenders {
			if err := b.measureContender(ctx, s, db, c, &results[i]); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for i, c := range contenders[1:] {
		b.table("queue, "+c.name, c.name, c.rows(results[0], results[i+1])...)
	}
	return nil
}

// tierGCPercent is the GOGC setting of the logic tier, used for all contenders.
const tierGCPercent = 400

// measureContender enqueues messages with a commit each, drains them, measures the latency on an empty
// queue, and then enqueues a quarter as many in explicit transactions.
func (b *bench) measureContender(ctx context.Context, s *site, db *sql.DB, c *contender, result *queueResult) error {
	if _, err := db.ExecContext(ctx, c.clear); err != nil {
		return err
	}
	n := b.size(queueMessages, 2_000)
	took, err := enqueueAll(ctx, n, c.publish)
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	result.enqueue = append(result.enqueue, float64(n)/took.Seconds())
	if err := s.settle(ctx); err != nil {
		return err
	}
	if took, err = c.drainAll(ctx, db, n); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	result.drain = append(result.drain, float64(n)/took.Seconds())
	if _, err := db.ExecContext(ctx, c.clear); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	latencies, err := c.measureLatency(ctx, latencyRate*b.size(10, 2))
	if err != nil {
		return fmt.Errorf("measure latency: %w", err)
	}
	result.p50 = append(result.p50, latencies[len(latencies)/2])
	result.p99 = append(result.p99, latencies[len(latencies)*99/100])
	n /= 4
	if took, err = enqueueAll(ctx, n, c.publishWith); err != nil {
		return fmt.Errorf("enqueue in a transaction: %w", err)
	}
	result.enqueueWith = append(result.enqueueWith, float64(n)/took.Seconds())
	return nil
}

// enqueueAll publishes n messages from several publishers without a consumer.
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

// handleAll handles n enqueued messages and returns the time at which the first reached a handler.
// The consumer runs until stop is called.
func handleAll(ctx context.Context, n int, consume consume) (first time.Time, stop func() error, err error) {
	var handled, began atomic.Int64
	allHandled := make(chan struct{})
	stop, err = consume(ctx, func(int64) {
		if began.Load() == 0 {
			began.CompareAndSwap(0, time.Now().UnixNano())
		}
		if handled.Add(1) == int64(n) {
			close(allHandled)
		}
	})
	if err != nil {
		return first, nil, err
	}
	select {
	case <-allHandled:
		return time.Unix(0, began.Load()), stop, nil
	case <-time.After(drainTimeout):
		err = fmt.Errorf("handled %d of %d messages in %s", handled.Load(), n, drainTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return first, nil, errors.Join(err, stop())
}

// drainAll handles n enqueued messages and returns the time from the first in a handler until none is
// pending in the database.
func (c *contender) drainAll(ctx context.Context, db *sql.DB, n int) (time.Duration, error) {
	first, stop, err := handleAll(ctx, n, c.consume)
	if err != nil {
		return 0, err
	}
	pendingContext, done := context.WithTimeout(ctx, drainTimeout)
	defer done()
	for pending := true; pending; {
		if err := db.QueryRowContext(pendingContext, c.pending).Scan(&pending); err != nil {
			return 0, errors.Join(fmt.Errorf("query pending messages: %w", err), stop())
		}
		if pending {
			time.Sleep(time.Millisecond)
		}
	}
	took := time.Since(first)
	return took, stop()
}

// measureLatency publishes n messages at latencyRate. It returns the sorted latencies from before the
// publish until the handler, in milliseconds.
func (c *contender) measureLatency(ctx context.Context, n int) ([]float64, error) {
	ctx, done := context.WithTimeout(ctx, time.Duration(n)*time.Second/latencyRate+time.Minute)
	defer done()
	n += latencyRate // the first second warms up connections and plans
	var mu sync.Mutex
	var latencies []float64
	allHandled := make(chan struct{})
	stop, err := c.consume(ctx, func(began int64) {
		latency := time.Since(time.Unix(0, began)).Seconds() * 1e3
		mu.Lock()
		defer mu.Unlock()
		if latencies = append(latencies, latency); len(latencies) == n {
			close(allHandled)
		}
	})
	if err != nil {
		return nil, err
	}
	failed := make(chan error, n)
	pace := time.NewTicker(time.Second / latencyRate)
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
	case <-allHandled:
		err = stop()
	case err = <-failed:
		_ = stop()
	case <-ctx.Done():
		err = ctx.Err()
		_ = stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(latencies) < n {
		return nil, fmt.Errorf("handled %d of %d messages: %w", len(latencies), n, err)
	}
	return slices.Sorted(slices.Values(latencies[latencyRate:])), err
}

// rows compares our results with those of a peer.
func (c *contender) rows(ours, theirs queueResult) []row {
	compareLatency := func(label string, a, b []float64, target time.Duration) row {
		return row{label: label, ours: spread(a, "%.1f ms"), baseline: spread(b, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(a)/median(b)),
			target: fmt.Sprintf("under %v", target), met: median(a) < target.Seconds()*1e3}
	}
	return []row{
		compareRates(fmt.Sprintf("drain, messages a second, %d workers", queueWorkers), ours.drain, theirs.drain, c.drain),
		compareRates(fmt.Sprintf("enqueue, commits a second, %d publishers", queuePublishers), ours.enqueue, theirs.enqueue, c.enqueue),
		compareRates("enqueue, each in an explicit transaction", ours.enqueueWith, theirs.enqueueWith, 0),
		compareLatency(fmt.Sprintf("enqueue to handled at %d a second, median", latencyRate), ours.p50, theirs.p50, medianLatency),
		compareLatency("the same, 99th percentile", ours.p99, theirs.p99, p99Latency),
	}
}
