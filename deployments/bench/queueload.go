package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Targets of the queue in Postgres under a load.
const (
	steadyRatio       = 1.3 // last minute relative to the first
	idleQueries       = 1.0 // a second
	spikeLatencyRatio = 2.0 // during the spike relative to before
)

const (
	steadyRate    = 2_000
	spikeMessages = 50_000
	spikeLoaders  = 8
)

// sample describes one second of a steady load.
type sample struct {
	latencies    []float64 // milliseconds from before the publish until the handler
	table, index float64   // bytes
	deadRows     float64   // rows
}

// measureSteady publishes and handles messages at a steady rate for minutes, with a commit each, and
// compares the last minute with the first.
func measureSteady(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := s.settle(ctx); err != nil {
		return err
	}
	ours, err := openPostgresQueue(ctx, s, db)
	if err != nil {
		return err
	}
	length, minute := b.size(600, 8), b.size(60, 2)
	samples, err := ours.runSteady(ctx, db, length)
	if err = errors.Join(err, ours.close()); err != nil {
		return err
	}
	// The first seconds warm up connections, plans and the table's first pages.
	warm := b.size(5, 1)
	first, last := samples[warm:warm+minute], samples[len(samples)-minute:]
	maxOf := func(minute []sample, value func(sample) float64) float64 {
		var values []float64
		for _, m := range minute {
			values = append(values, value(m))
		}
		return slices.Max(values)
	}
	latencies := func(minute []sample) (all []float64) {
		for _, m := range minute {
			all = append(all, m.latencies...)
		}
		slices.Sort(all)
		return all
	}
	compare := func(label, format string, then, now float64, hasTarget bool) row {
		r := row{label: label, ours: fmt.Sprintf(format, now), baseline: fmt.Sprintf(format, then), ratio: fmt.Sprintf("%.2f", now/then)}
		if hasTarget {
			r.target, r.met = fmt.Sprintf("under %.1f", steadyRatio), now/then < steadyRatio
		}
		return r
	}
	firstLatencies, lastLatencies := latencies(first), latencies(last)
	b.table("queue-steady", "the first minute",
		compare(fmt.Sprintf("handled a second, at %d published", steadyRate), "%.0f", float64(len(firstLatencies))/float64(minute), float64(len(lastLatencies))/float64(minute), false),
		compare("enqueue to handled, median", "%.1f ms", firstLatencies[len(firstLatencies)/2], lastLatencies[len(lastLatencies)/2], true),
		compare("the same, 99th percentile", "%.1f ms", firstLatencies[len(firstLatencies)*99/100], lastLatencies[len(lastLatencies)*99/100], true),
		compare("table size, maximum, kB", "%.0f", maxOf(first, func(m sample) float64 { return m.table / 1e3 }), maxOf(last, func(m sample) float64 { return m.table / 1e3 }), true),
		compare("index size, maximum, kB", "%.0f", maxOf(first, func(m sample) float64 { return m.index / 1e3 }), maxOf(last, func(m sample) float64 { return m.index / 1e3 }), true),
		compare("dead rows, maximum", "%.0f", maxOf(first, func(m sample) float64 { return m.deadRows }), maxOf(last, func(m sample) float64 { return m.deadRows }), true),
	)
	return nil
}

const sizesStatement = `
select pg_table_size('queue.message'), pg_indexes_size('queue.message'), n_dead_tup
from   pg_stat_user_tables
where  relid = 'queue.message'::regclass`

// runSteady publishes and handles messages at steadyRate for a number of seconds.
func (c *contender) runSteady(ctx context.Context, db *sql.DB, seconds int) ([]sample, error) {
	samples := make([]sample, seconds)
	var mu sync.Mutex
	began := time.Now()
	stop, err := c.consume(ctx, func(published int64) {
		now := time.Now()
		at := min(seconds-1, int(now.Sub(began)/time.Second))
		mu.Lock()
		defer mu.Unlock()
		samples[at].latencies = append(samples[at].latencies, now.Sub(time.Unix(0, published)).Seconds()*1e3)
	})
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	const tick = 5 * time.Millisecond
	due := make(chan struct{}, steadyRate) // bounds how far publishers can lag: one second
	g.Go(func() error {
		defer close(due)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for sent := 0; ; {
			<-ticker.C
			since := time.Since(began)
			if since >= time.Duration(seconds)*time.Second {
				return nil
			}
			for ; sent < int(since.Seconds()*steadyRate); sent++ {
				select {
				case due <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	})
	for range queuePublishers {
		g.Go(func() error {
			for range due {
				if err := c.publish(ctx, time.Now().UnixNano()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for i := range seconds {
			select {
			case <-time.After(time.Until(began.Add(time.Duration(i+1) * time.Second))):
			case <-ctx.Done():
				return ctx.Err()
			}
			var m sample
			if err := db.QueryRowContext(ctx, sizesStatement).Scan(&m.table, &m.index, &m.deadRows); err != nil {
				return err
			}
			mu.Lock()
			samples[i].table, samples[i].index, samples[i].deadRows = m.table, m.index, m.deadRows
			mu.Unlock()
		}
		return nil
	})
	return samples, errors.Join(g.Wait(), stop())
}

// measureIdle counts the queue queries of an idle logic tier. It excludes the health check of the
// database, once a second.
func measureIdle(ctx context.Context, b *bench) error {
	_, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	type query struct {
		process int
		began   time.Time
	}
	queries := map[query]bool{}
	record := func() error {
		rows, err := db.QueryContext(ctx, `select pid, query_start from pg_stat_activity where usename = 'queue' and query_start is not null and query not like '%cluster_name%'`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var q query
			if err := rows.Scan(&q.process, &q.began); err != nil {
				return err
			}
			queries[q] = true
		}
		return rows.Err()
	}
	if err := record(); err != nil {
		return err
	}
	before := len(queries)
	length := time.Duration(b.size(30, 3)) * time.Second
	for began := time.Now(); time.Since(began) < length; time.Sleep(5 * time.Millisecond) {
		if err := record(); err != nil {
			return err
		}
	}
	rate := float64(len(queries)-before) / length.Seconds()
	var queues int
	if err := db.QueryRowContext(ctx, `select count(distinct queue) from queue.consumer`).Scan(&queues); err != nil {
		return err
	}
	b.table("queue-idle", "", row{label: fmt.Sprintf("queries a second of a process that consumes %d queues", queues), ours: fmt.Sprintf("%.2f", rate),
		target: fmt.Sprintf("at most %.0f", idleQueries), met: rate <= idleQueries})
	return nil
}

// measureSpike measures page latency before and during a spike: many messages are published at once,
// and handled by workers that take a millisecond each.
func measureSpike(ctx context.Context, b *bench) error {
	s, err := b.withCatalogue(ctx)
	if err != nil {
		return err
	}
	db, err := s.superuser(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	ours, err := openPostgresQueue(ctx, s, db)
	if err != nil {
		return err
	}
	defer func() { _ = ours.close() }()
	n := b.size(spikeMessages, 2_000)
	var before, during, spike, heap, drained []float64
	for range b.runs {
		if err := s.settle(ctx); err != nil {
			return err
		}
		baseline, err := s.pageLatencies(ctx, time.Duration(b.size(10, 1))*time.Second)
		if err != nil {
			return err
		}
		before = append(before, baseline[len(baseline)/2])
		took, handling, pages, peak, err := ours.runSpike(ctx, s, n)
		if err != nil {
			return err
		}
		spike, drained, during, heap = append(spike, took.Seconds()), append(drained, handling.Seconds()), append(during, pages[len(pages)/2]), append(heap, peak)
	}
	ratios := make([]float64, len(before))
	for i := range before {
		ratios[i] = during[i] / before[i]
	}
	b.table("queue-spike", "without",
		row{label: fmt.Sprintf("%d messages published", n), ours: spread(spike, "%.1f s")},
		row{label: fmt.Sprintf("handled by %d workers, 1 ms each", queueWorkers), ours: spread(drained, "%.0f s")},
		row{label: "page latency until the last message is handled, median", ours: spread(during, "%.1f ms"), baseline: spread(before, "%.1f ms"),
			ratio: fmt.Sprintf("%.2f", median(ratios)), target: fmt.Sprintf("at most %.0f", spikeLatencyRatio), met: median(ratios) <= spikeLatencyRatio},
		row{label: "heap growth of the consumer, maximum", ours: spread(heap, "%.0f MB")})
	return nil
}

// spikePageRate is the number of page requests a second.
const spikePageRate = 20

// pageLatencies requests a page at spikePageRate for a duration or until ctx is done. It returns the
// sorted latencies in milliseconds.
func (s *site) pageLatencies(ctx context.Context, length time.Duration) ([]float64, error) {
	var took []float64
	pace := time.NewTicker(time.Second / spikePageRate)
	defer pace.Stop()
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; <-pace.C {
		began := time.Now()
		if err := s.get(context.WithoutCancel(ctx), "/talks", io.Discard); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began).Seconds()*1e3)
	}
	slices.Sort(took)
	return took, nil
}

// spikeStatement publishes many messages in one statement, each routed as if published alone.
const spikeStatement = `
select count(queue.publish('` + benchQueue + `', 'bench.published', 'bench.published', '', '\x0801', null, 0, 0))
from   generate_series(1, $1)`

// runSpike publishes n messages at once. It returns the time until all are published, the time until all
// are handled, the page latencies meanwhile, and the heap growth in megabytes.
func (c *contender) runSpike(ctx context.Context, s *site, n int) (publishing, handling time.Duration, pages []float64, heap float64, err error) {
	ctx, done := context.WithTimeout(ctx, 5*time.Minute)
	defer done()
	var handled atomic.Int64
	allHandled := make(chan struct{})
	stop, err := c.consume(ctx, func(int64) {
		time.Sleep(time.Millisecond) // simulates work
		if handled.Add(1) == int64(n) {
			close(allHandled)
		}
	})
	if err != nil {
		return 0, 0, nil, 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	pool, err := s.pool("talks", "")
	if err != nil {
		return 0, 0, nil, 0, err
	}
	defer pool.Close()
	pool.SetMaxIdleConns(spikeLoaders)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	before, largest := memory.HeapAlloc, memory.HeapAlloc

	paging, stopPaging := context.WithCancel(ctx)
	defer stopPaging()
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	g.Go(func() (err error) {
		pages, err = s.pageLatencies(paging, 5*time.Minute)
		return err
	})
	g.Go(func() error {
		defer stopPaging()
		loaders, loading := errgroup.WithContext(ctx)
		for range spikeLoaders {
			loaders.Go(func() error {
				_, err := pool.ExecContext(loading, spikeStatement, n/spikeLoaders)
				return err
			})
		}
		if err := loaders.Wait(); err != nil {
			return err
		}
		publishing = time.Since(began)
		for {
			select {
			case <-allHandled:
				handling = time.Since(began)
				return nil
			case <-ctx.Done():
				return fmt.Errorf("handled %d of %d messages: %w", handled.Load(), n, ctx.Err())
			case <-time.After(100 * time.Millisecond):
			}
			runtime.ReadMemStats(&memory)
			largest = max(largest, memory.HeapAlloc)
		}
	})
	err = g.Wait()
	return publishing, handling, pages, float64(largest-before) / 1e6, err
}
