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
	steadyRatio  = 1.3 // the last minute over the first
	idleQueries  = 1.0 // a second
	spikeLatency = 2.0 // with the spike over without
)

const (
	steadyPace   = 2_000
	spikeOf      = 50_000
	spikeLoaders = 8
)

// moment is what a second of a steady load was like.
type moment struct {
	ways         []float64 // milliseconds from before publishing until handled
	table, index float64   // bytes
	dead         float64   // rows
}

// measureSteady publishes and handles messages at a pace for minutes, each in a
// commit of its own, and compares the last minute with the first.
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
	moments, err := ours.keepUp(ctx, db, length)
	if err = errors.Join(err, ours.close()); err != nil {
		return err
	}
	// The first seconds make connections, plans and the table's first pages.
	warm := b.size(5, 1)
	first, last := moments[warm:warm+minute], moments[len(moments)-minute:]
	of := func(minute []moment, value func(moment) float64) float64 {
		var all []float64
		for _, m := range minute {
			all = append(all, value(m))
		}
		return slices.Max(all)
	}
	ways := func(minute []moment) (all []float64) {
		for _, m := range minute {
			all = append(all, m.ways...)
		}
		slices.Sort(all)
		return all
	}
	compare := func(what, format string, then, now float64, held bool) row {
		r := row{what: what, ours: fmt.Sprintf(format, now), against: fmt.Sprintf(format, then), ratio: fmt.Sprintf("%.2f", now/then)}
		if held {
			r.target, r.met = fmt.Sprintf("under %.1f", steadyRatio), now/then < steadyRatio
		}
		return r
	}
	a, z := ways(first), ways(last)
	b.table("queue-steady", "the first minute",
		compare(fmt.Sprintf("handled a second, at %d published", steadyPace), "%.0f", float64(len(a))/float64(minute), float64(len(z))/float64(minute), false),
		compare("enqueue to handled, median", "%.1f ms", a[len(a)/2], z[len(z)/2], true),
		compare("the same, 99 of 100", "%.1f ms", a[len(a)*99/100], z[len(z)*99/100], true),
		compare("table, at its largest, kB", "%.0f", of(first, func(m moment) float64 { return m.table / 1e3 }), of(last, func(m moment) float64 { return m.table / 1e3 }), true),
		compare("index, at its largest, kB", "%.0f", of(first, func(m moment) float64 { return m.index / 1e3 }), of(last, func(m moment) float64 { return m.index / 1e3 }), true),
		compare("dead rows, at most", "%.0f", of(first, func(m moment) float64 { return m.dead }), of(last, func(m moment) float64 { return m.dead }), true),
	)
	return nil
}

const sizesStatement = `
select pg_table_size('queue.message'), pg_indexes_size('queue.message'), n_dead_tup
from   pg_stat_user_tables
where  relid = 'queue.message'::regclass`

// keepUp has messages published and handled at the steady pace for so many
// seconds.
func (c *contender) keepUp(ctx context.Context, db *sql.DB, seconds int) ([]moment, error) {
	moments := make([]moment, seconds)
	var mu sync.Mutex
	began := time.Now()
	stop, err := c.consume(ctx, func(published int64) {
		now := time.Now()
		at := min(seconds-1, int(now.Sub(began)/time.Second))
		mu.Lock()
		defer mu.Unlock()
		moments[at].ways = append(moments[at].ways, now.Sub(time.Unix(0, published)).Seconds()*1e3)
	})
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	const beat = 5 * time.Millisecond
	due := make(chan struct{}, steadyPace) // a second's: publishers that are so late fail the pace
	g.Go(func() error {
		defer close(due)
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for sent := 0; ; {
			<-ticker.C
			since := time.Since(began)
			if since >= time.Duration(seconds)*time.Second {
				return nil
			}
			for ; sent < int(since.Seconds()*steadyPace); sent++ {
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
			var m moment
			if err := db.QueryRowContext(ctx, sizesStatement).Scan(&m.table, &m.index, &m.dead); err != nil {
				return err
			}
			mu.Lock()
			moments[i].table, moments[i].index, moments[i].dead = m.table, m.index, m.dead
			mu.Unlock()
		}
		return nil
	})
	return moments, errors.Join(g.Wait(), stop())
}

// measureIdle counts what a logic tier that has nothing to do asks of its queues;
// that it asks once a second whether the database answers is not the queue's.
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
	asked := map[query]bool{}
	sample := func() error {
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
			asked[q] = true
		}
		return rows.Err()
	}
	if err := sample(); err != nil {
		return err
	}
	before := len(asked)
	length := time.Duration(b.size(30, 3)) * time.Second
	for began := time.Now(); time.Since(began) < length; time.Sleep(5 * time.Millisecond) {
		if err := sample(); err != nil {
			return err
		}
	}
	rate := float64(len(asked)-before) / length.Seconds()
	var queues int
	if err := db.QueryRowContext(ctx, `select count(distinct queue) from queue.consumer`).Scan(&queues); err != nil {
		return err
	}
	b.table("queue-idle", "", row{what: fmt.Sprintf("queries a second of a process that consumes %d queues", queues), ours: fmt.Sprintf("%.2f", rate),
		target: fmt.Sprintf("at most %.0f", idleQueries), met: rate <= idleQueries})
	return nil
}

// measureSpike asks for pages, and then again while many messages are published in
// one second and worked off by consumers that take a millisecond each.
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
	n := b.size(spikeOf, 2_000)
	var before, during, spike, heap, drained []float64
	for range b.runs {
		if err := s.settle(ctx); err != nil {
			return err
		}
		quiet, err := s.askFor(ctx, time.Duration(b.size(10, 1))*time.Second)
		if err != nil {
			return err
		}
		before = append(before, quiet[len(quiet)/2])
		took, working, pages, peak, err := ours.takeSpike(ctx, s, n)
		if err != nil {
			return err
		}
		spike, drained, during, heap = append(spike, took.Seconds()), append(drained, working.Seconds()), append(during, pages[len(pages)/2]), append(heap, peak)
	}
	ratios := make([]float64, len(before))
	for i := range before {
		ratios[i] = during[i] / before[i]
	}
	b.table("queue-spike", "without",
		row{what: fmt.Sprintf("%d messages published", n), ours: spread(spike, "%.1f s")},
		row{what: fmt.Sprintf("worked off by %d workers, 1 ms each", queueWorkers), ours: spread(drained, "%.0f s")},
		row{what: "a page from the start of the spike until the last message is worked, median", ours: spread(during, "%.1f ms"), against: spread(before, "%.1f ms"),
			ratio: fmt.Sprintf("%.2f", median(ratios)), target: fmt.Sprintf("at most %.0f", spikeLatency), met: median(ratios) <= spikeLatency},
		row{what: "heap that the consumer has more than before, at most", ours: spread(heap, "%.0f MB")})
	return nil
}

// spikePages is how many pages a second are asked for.
const spikePages = 20

// askFor asks for a page at a pace until ctx ends or the time is over, and returns
// how long each took, sorted: milliseconds.
func (s *site) askFor(ctx context.Context, length time.Duration) ([]float64, error) {
	var took []float64
	pace := time.NewTicker(time.Second / spikePages)
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

// spikeStatement publishes many messages as a module does one, each routed by
// itself.
const spikeStatement = `
select count(queue.publish('` + benchQueue + `', 'bench.published', 'bench.published', '', '\x0801', null, 0, 0))
from   generate_series(1, $1)`

// takeSpike publishes n messages at once and returns how long that took, how long
// until all are worked, how long pages took meanwhile, and how many megabytes more
// heap there was.
func (c *contender) takeSpike(ctx context.Context, s *site, n int) (publishing, working time.Duration, pages []float64, heap float64, err error) {
	ctx, done := context.WithTimeout(ctx, 5*time.Minute)
	defer done()
	var handled atomic.Int64
	all := make(chan struct{})
	stop, err := c.consume(ctx, func(int64) {
		time.Sleep(time.Millisecond) // what it works with takes its time
		if handled.Add(1) == int64(n) {
			close(all)
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

	asking, stopAsking := context.WithCancel(ctx)
	defer stopAsking()
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	g.Go(func() (err error) {
		pages, err = s.askFor(asking, 5*time.Minute)
		return err
	})
	g.Go(func() error {
		defer stopAsking()
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
			case <-all:
				working = time.Since(began)
				return nil
			case <-ctx.Done():
				return fmt.Errorf("%d of %d are worked: %w", handled.Load(), n, ctx.Err())
			case <-time.After(100 * time.Millisecond):
			}
			runtime.ReadMemStats(&memory)
			largest = max(largest, memory.HeapAlloc)
		}
	})
	err = g.Wait()
	return publishing, working, pages, float64(largest-before) / 1e6, err
}
