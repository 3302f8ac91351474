package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is waited for: an operation that changes this often, by this many.
const (
	waitChanges = 10
	pollEvery   = time.Second
	waitTimeout = 25 * time.Second
)

// way is a way to wait for an operation. predicted is what the formulas say of so
// many waiters, changes and so long an operation.
type way struct {
	name      string
	wait      func(ctx context.Context, w *waiter) error
	predicted func(waiters, changes int, lasts time.Duration) prediction
}

// prediction is what a way should cost.
type prediction struct {
	requests, empty int
	delay           time.Duration // from a change to a waiter, on average
}

var ways = []way{
	{"short poll", shortPoll, predictPoll},
	{"short poll, ETag", shortPollTagged, predictPoll},
	{"long poll", longPoll, func(waiters, changes int, lasts time.Duration) prediction {
		// A request a change; one is empty for every timeout that passes between two.
		gap := lasts / time.Duration(changes)
		empty := waiters * changes * int(gap/waitTimeout)
		return prediction{waiters*changes + empty, empty, 0}
	}},
	{"server-sent events", eventStream, func(waiters, _ int, _ time.Duration) prediction {
		return prediction{waiters, 0, 0}
	}},
}

// predictPoll: a request an interval, all but those after a change empty; a change
// waits half an interval to be found.
func predictPoll(waiters, changes int, lasts time.Duration) prediction {
	polls := int(lasts / pollEvery)
	return prediction{waiters * polls, waiters * max(0, polls-changes), pollEvery / 2}
}

// waited is what a way did cost.
type waited struct {
	requests, empty, bytes int64
	cpu                    time.Duration
	delays                 []time.Duration
}

// measureWaits has many wait for one operation, each way in turn.
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
	lasts := time.Duration(b.size(60, 3)) * time.Second
	var rows []row
	for n, w := range ways {
		operation, err := newWork(ctx, db, n)
		if err != nil {
			return err
		}
		found, err := s.measureWay(ctx, w, operation, waiters, lasts)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		predicted := w.predicted(waiters, waitChanges, lasts)
		rows = append(rows,
			row{what: w.name + ": requests", ours: fmt.Sprint(found.requests), against: fmt.Sprint(predicted.requests)},
			row{what: w.name + ": empty responses", ours: fmt.Sprint(found.empty), against: fmt.Sprint(predicted.empty)},
			row{what: w.name + ": bytes on the wire", ours: kilobytes(float64(found.bytes))},
			row{what: w.name + ": work of all tiers", ours: fmt.Sprintf("%.2f s", found.cpu.Seconds())},
			row{what: w.name + ": from change to client, median (95 %)", ours: delays(found.delays), against: milliseconds(predicted.delay)})
	}
	fmt.Printf("  %d wait for an operation of %s that changes %d times; polls every %s, long polls of %s\n", waiters, lasts, waitChanges, pollEvery, waitTimeout)
	b.table("waits", "the formula", rows...)
	return b.measureWaiters(ctx, s, db)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", d.Seconds()*1e3) }

func delays(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%s (%s)", milliseconds(sorted[len(sorted)/2]), milliseconds(sorted[len(sorted)*95/100]))
}

// measureWay has waiters follow an operation one way while it changes and ends.
func (s *site) measureWay(ctx context.Context, w way, operation *fakeWork, waiters int, lasts time.Duration) (found waited, err error) {
	ctx, done := context.WithTimeout(ctx, lasts+time.Minute)
	defer done()
	all := make([]*waiter, waiters)
	over := make(chan error, waiters)
	tiers := slices.Concat(s.pids("web-tier"), s.pids("logic-tier"), s.pids("data-tier"))
	before := cpu(tiers)
	for n := range all {
		all[n] = newWaiter(s.web, operation)
		go func() { over <- w.wait(ctx, all[n]) }()
	}
	for n := 1; n <= waitChanges; n++ {
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(lasts / waitChanges):
		}
		if err := operation.change(ctx, n == waitChanges); err != nil {
			return found, err
		}
	}
	for range all {
		if err := <-over; err != nil {
			return found, err
		}
	}
	found.cpu = cpu(tiers) - before
	for _, w := range all {
		found.requests += w.requests
		found.empty += w.empty
		found.bytes += w.bytes.Load()
		found.delays = append(found.delays, w.delays...)
	}
	return found, nil
}

// fakeWork is an operation that changes when it is told to: behind the back of the
// logic tier, so that it is work to wait for and no work to do.
type fakeWork struct {
	db *sql.DB
	id string
}

func newWork(ctx context.Context, db *sql.DB, n int) (*fakeWork, error) {
	w := &fakeWork{db: db, id: strings.Repeat(string(rune('a'+n)), 26)}
	_, err := db.ExecContext(ctx, `
		insert into operations.operation (id, account_id, request_id, kind, title, subject, state, dispatched, total_count, unit, attempt, attempt_began_at, started_at, input)
		select $1, a.id, $1, 'import', 'Waited for', '', 'running', true, 100, 'talks', 1, now(), now(), ''
		from   accounts.account a
		where  a.handle = 'follower-1'
		on conflict (id) do update set state = 'running', ended_at = null, response = null, done_count = 0, revision = 1`, w.id)
	return w, err
}

// change changes the operation, or ends it.
func (w *fakeWork) change(ctx context.Context, ends bool) error {
	statement := `
		with changed as (
		    update operations.operation
		    set    done_count = done_count + 5, revision = revision + 1, updated_at = now()
		    where  id = $1
		)
		select pg_notify('operations_changed', $1)`
	if ends {
		statement = `
		with changed as (
		    update operations.operation
		    set    state = 'failed', error = '', ended_at = now(), revision = revision + 1, updated_at = now()
		    where  id = $1
		)
		select pg_notify('operations_changed', $1)`
	}
	_, err := w.db.ExecContext(ctx, statement, w.id)
	return err
}
