package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The operation that clients follow, and the intervals of their requests.
const (
	waitChanges = 10 // of the operation
	pollEvery   = time.Second
	waitTimeout = 25 * time.Second
)

// waitMode is a way to follow an operation. predicted computes its expected cost for an
// operation with a number of waiters and changes, and a duration.
type waitMode struct {
	name      string
	wait      func(ctx context.Context, w *waiter) error
	predicted func(waiters, changes int, duration time.Duration) prediction
}

// prediction is the expected cost of a mode.
type prediction struct {
	requests, empty int
	delay           time.Duration // average, from a change to its arrival at a waiter
}

var waitModes = []waitMode{
	{"short poll", shortPoll, predictPoll},
	{"short poll, ETag", shortPollTagged, predictPoll},
	{"long poll", longPoll, func(waiters, changes int, duration time.Duration) prediction {
		// One request per change, and an empty one for each timeout between two changes.
		gap := duration / time.Duration(changes)
		empty := waiters * changes * int(gap/waitTimeout)
		return prediction{waiters*changes + empty, empty, 0}
	}},
	{"server-sent events", eventStream, func(waiters, _ int, _ time.Duration) prediction {
		return prediction{waiters, 0, 0}
	}},
}

// predictPoll predicts the cost of short polls: one request per interval, empty unless it follows a
// change. A change is seen after half an interval on average.
func predictPoll(waiters, changes int, duration time.Duration) prediction {
	polls := int(duration / pollEvery)
	return prediction{waiters * polls, waiters * max(0, polls-changes), pollEvery / 2}
}

// waitResult is the measured cost of a mode.
type waitResult struct {
	requests, empty, bytes int64
	cpuTime                time.Duration
	delays                 []time.Duration
}

// measureWaits measures the cost of many clients that follow one operation, in each mode in turn.
func measureWaits(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	waiters := b.size(100, 5)
	if err := followers(ctx, db, 1); err != nil {
		return err
	}
	duration := time.Duration(b.size(60, 3)) * time.Second
	var rows []row
	for n, mode := range waitModes {
		operation, err := newFakeOperation(ctx, db, n)
		if err != nil {
			return err
		}
		result, err := s.measureMode(ctx, mode, operation, waiters, duration)
		if err != nil {
			return fmt.Errorf("%s: %w", mode.name, err)
		}
		predicted := mode.predicted(waiters, waitChanges, duration)
		rows = append(rows,
			row{label: mode.name + ": requests", ours: fmt.Sprint(result.requests), baseline: fmt.Sprint(predicted.requests)},
			row{label: mode.name + ": empty responses", ours: fmt.Sprint(result.empty), baseline: fmt.Sprint(predicted.empty)},
			row{label: mode.name + ": bytes on the wire", ours: kilobytes(float64(result.bytes))},
			row{label: mode.name + ": CPU time of all tiers", ours: fmt.Sprintf("%.2f s", result.cpuTime.Seconds())},
			row{label: mode.name + ": change to client, median (95th percentile)", ours: delays(result.delays), baseline: milliseconds(predicted.delay)})
	}
	fmt.Printf("  %d clients follow an operation of %s with %d changes; polls every %s, long polls of %s\n", waiters, duration, waitChanges, pollEvery, waitTimeout)
	b.table("waits", "predicted", rows...)
	return b.measureIdleWaiters(ctx, s, db)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", d.Seconds()*1e3) }

// delays formats the median and the 95th percentile.
func delays(values []time.Duration) string {
	if len(values) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%s (%s)", milliseconds(sorted[len(sorted)/2]), milliseconds(sorted[len(sorted)*95/100]))
}

// measureMode lets waiters follow an operation in one mode while it changes and finishes.
func (s *site) measureMode(ctx context.Context, mode waitMode, operation *fakeOperation, waiters int, duration time.Duration) (result waitResult, err error) {
	ctx, done := context.WithTimeout(ctx, duration+time.Minute)
	defer done()
	clients := make([]*waiter, waiters)
	finished := make(chan error, waiters)
	tiers := slices.Concat(s.pids("web-tier"), s.pids("logic-tier"), s.pids("data-tier"))
	before := cpuTime(tiers)
	for n := range clients {
		clients[n] = newWaiter(s.web, operation)
		go func() { finished <- mode.wait(ctx, clients[n]) }()
	}
	for n := 1; n <= waitChanges; n++ {
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-time.After(duration / waitChanges):
		}
		if err := operation.change(ctx, n == waitChanges); err != nil {
			return result, err
		}
	}
	for range clients {
		if err := <-finished; err != nil {
			return result, err
		}
	}
	result.cpuTime = cpuTime(tiers) - before
	for _, w := range clients {
		result.requests += w.requests
		result.empty += w.empty
		result.bytes += w.bytes.Load()
		result.delays = append(result.delays, w.delays...)
	}
	return result, nil
}

// fakeOperation is an operation that the benchmark changes directly in the database: clients can
// follow it, but no worker runs it.
type fakeOperation struct {
	db *sql.DB
	id string
}

func newFakeOperation(ctx context.Context, db *sql.DB, n int) (*fakeOperation, error) {
	o := &fakeOperation{db: db, id: strings.Repeat(string(rune('a'+n)), 26)}
	_, err := db.ExecContext(ctx, `
		insert into operations.operation (id, account_id, request_id, kind, title, subject, state, dispatched, total_count, unit, attempt, attempt_began_at, started_at, input)
		select $1, a.id, $1, 'import', 'Waited for', '', 'running', true, 100, 'talks', 1, now(), now(), ''
		from   accounts.account a
		where  a.handle = 'follower-1'
		on conflict (id) do update set state = 'running', ended_at = null, response = null, done_count = 0, revision = 1`, o.id)
	return o, err
}

// change updates the operation, or finishes it.
func (o *fakeOperation) change(ctx context.Context, finish bool) error {
	statement := `
		with changed as (
		    update operations.operation
		    set    done_count = done_count + 5, revision = revision + 1, updated_at = now()
		    where  id = $1
		)
		select pg_notify('operations_changed', $1)`
	if finish {
		statement = `
		with changed as (
		    update operations.operation
		    set    state = 'failed', error = '', ended_at = now(), revision = revision + 1, updated_at = now()
		    where  id = $1
		)
		select pg_notify('operations_changed', $1)`
	}
	_, err := o.db.ExecContext(ctx, statement, o.id)
	return err
}
