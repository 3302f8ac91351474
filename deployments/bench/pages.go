package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Targets of a page over three processes, against the same in one.
const (
	pageThroughput = 0.70
	pageWork       = 1.5
)

const (
	pageConnections = 32
	pageTalks       = 20
)

// measurePage asks both for the same pages in turn.
func measurePage(ctx context.Context, b *bench) error {
	s, paths, err := b.withChannels(ctx)
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	collapsed, err := b.background(b.program("collapsed"), "-listen-address", address, "-data-address", s.data, "-certificates", s.certificates())
	if err != nil {
		return err
	}
	defer collapsed.stop()
	if err := awaitListener(ctx, address); err != nil {
		return err
	}
	long := time.Duration(b.size(4000, 300)) * time.Millisecond
	apart := func() []int {
		return append(append(s.pids("web-tier"), s.pids("logic-tier")...), s.pids("data-tier")...)
	}
	one := func() []int { return append(processes(b.program("collapsed")), s.pids("data-tier")...) }
	// Connections, statements and caches are there before it counts.
	for _, of := range []string{s.web, address} {
		if _, err := askFor(ctx, of, paths, long/2, nil); err != nil {
			return err
		}
	}
	var speeds, speedsOne, works, worksOne, speedRatio, workRatio, alone, aloneOne []float64
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	each := make([][]float64, len(tiers)) // work a page, of each tier
	for range b.runs {
		var before []time.Duration
		for _, tier := range tiers {
			before = append(before, cpu(s.pids(tier)))
		}
		a, err := askFor(ctx, s.web, paths, long, apart)
		if err != nil {
			return err
		}
		for i, tier := range tiers {
			each[i] = append(each[i], (cpu(s.pids(tier))-before[i]).Seconds()*1e6/float64(a.pages))
		}
		o, err := askFor(ctx, address, paths, long, one)
		if err != nil {
			return err
		}
		speeds, speedsOne = append(speeds, a.perSecond), append(speedsOne, o.perSecond)
		works, worksOne = append(works, a.work.Seconds()*1e6), append(worksOne, o.work.Seconds()*1e6)
		speedRatio = append(speedRatio, a.perSecond/o.perSecond)
		workRatio = append(workRatio, a.work.Seconds()/o.work.Seconds())
		for into, of := range map[*[]float64]string{&alone: s.web, &aloneOne: address} {
			took, err := askAlone(ctx, of, paths, b.size(400, 20))
			if err != nil {
				return err
			}
			*into = append(*into, took.Seconds()*1e3)
		}
	}
	speed, work := median(speedRatio), median(workRatio)
	b.table("page", "one process",
		row{what: "pages a second, 32 connections", ours: spread(speeds, "%.0f"), against: spread(speedsOne, "%.0f"), ratio: fmt.Sprintf("%.2f", speed),
			target: fmt.Sprintf("at least %.2f", pageThroughput), met: speed >= pageThroughput},
		row{what: "work a page, all processes and Postgres", ours: spread(works, "%.0f µs"), against: spread(worksOne, "%.0f µs"), ratio: fmt.Sprintf("%.2f", work),
			target: fmt.Sprintf("at most %.2f", pageWork), met: work <= pageWork},
		row{what: "of it web tier, logic tier, data tier", ours: fmt.Sprintf("%.0f, %.0f, %.0f µs", median(each[0]), median(each[1]), median(each[2]))},
		row{what: "one page at a time, median", ours: spread(alone, "%.2f ms"), against: spread(aloneOne, "%.2f ms"), ratio: fmt.Sprintf("%.2f", median(alone)/median(aloneOne))})
	return nil
}

// withChannels returns the site with the catalogue in it, and pages of its full channels.
func (b *bench) withChannels(ctx context.Context) (*site, []string, error) {
	s, err := b.withCatalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	paths, err := s.fullChannels(ctx)
	return s, paths, err
}

// fullChannels returns pages of channels that show as many talks as a page can.
func (s *site) fullChannels(ctx context.Context) (paths []string, err error) {
	db, err := s.superuser(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `select slug from talks.channel where talk_count > $1 order by slug limit 16`, pageTalks)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var slug string
		if err := rows.Scan(&slug); err != nil {
			return nil, err
		}
		paths = append(paths, "/channels/"+slug)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("no channel fills a page")
	}
	var page strings.Builder
	if err := s.get(ctx, paths[0], &page); err != nil {
		return nil, err
	}
	if n := strings.Count(page.String(), "<h3"); n != pageTalks {
		return nil, fmt.Errorf("%s shows %d talks, not %d", paths[0], n, pageTalks)
	}
	return paths, nil
}

// asked is what came of asking for a while.
type asked struct {
	pages     int64
	perSecond float64
	work      time.Duration // a page
}

// askFor asks for pages over 32 connections, each one at a time, for a while.
func askFor(ctx context.Context, address string, paths []string, long time.Duration, who func() []int) (asked, error) {
	return askOverMany(ctx, address, pageConnections, paths, long, who)
}

// askOverMany asks over some connections.
func askOverMany(ctx context.Context, address string, connections int, paths []string, long time.Duration, who func() []int) (asked, error) {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	var before time.Duration
	if who != nil {
		before = cpu(who())
	}
	began := time.Now()
	for c := range connections {
		group.Go(func() {
			if err := askOver(ctx, address, func(n int) (string, bool) {
				return paths[(c+n)%len(paths)], time.Since(began) < long
			}, func() { count.Add(1) }); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return asked{}, *err
	}
	if count.Load() == 0 {
		return asked{}, fmt.Errorf("in %s no page was made by %s", took, address)
	}
	a := asked{pages: count.Load(), perSecond: float64(count.Load()) / took.Seconds()}
	if who != nil {
		a.work = (cpu(who()) - before) / time.Duration(count.Load())
	}
	return a, ctx.Err()
}

// askAlone returns the median time of one page at a time.
func askAlone(ctx context.Context, address string, paths []string, n int) (time.Duration, error) {
	return askBy(ctx, address, 1, paths, n)
}

// askBy returns the median time of a page when several clients ask, each n times.
func askBy(ctx context.Context, address string, clients int, paths []string, n int) (time.Duration, error) {
	var group sync.WaitGroup
	var mu sync.Mutex
	var times []float64
	var failed error
	for range clients {
		group.Go(func() {
			var own []float64
			last := time.Now()
			err := askOver(ctx, address, func(i int) (string, bool) { return paths[i%len(paths)], i < n }, func() {
				now := time.Now()
				own = append(own, now.Sub(last).Seconds())
				last = now
			})
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			failed = cmp.Or(failed, err)
		})
	}
	group.Wait()
	return time.Duration(median(times) * float64(time.Second)), failed
}

// askOver asks over one connection until next says to stop. A page that is not made, since
// it was told when to come back or shown as it was, takes its time and is not counted: a
// site that is cold, or whose machine stalls, does not end the measurement.
func askOver(ctx context.Context, address string, next func(n int) (path string, more bool), answered func()) error {
	a := &asker{address: address}
	if err := a.connect(); err != nil {
		return err
	}
	connection := a.connection
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	defer a.close()
	for n := 0; ; n++ {
		path, more := next(n)
		if !more {
			return nil
		}
		got, err := a.ask(path)
		if err != nil {
			return err
		}
		switch {
		case got.status == http.StatusOK && got.age == "":
			answered()
		case got.age == "" && got.again == "":
			return fmt.Errorf("%s answers %d %s", path, got.status, http.StatusText(got.status))
		}
	}
}

// child is a program that runs beside the site.
type child struct {
	command *exec.Cmd
	log     *os.File
}

// background starts a program; what it says goes to a file, as a tier's does.
func (b *bench) background(program string, arguments ...string) (*child, error) {
	log, err := os.Create(filepath.Join(b.folder, filepath.Base(program)+".log"))
	if err != nil {
		return nil, err
	}
	c := &child{exec.Command(program, arguments...), log}
	c.command.Stdout, c.command.Stderr = log, log
	return c, c.command.Start()
}

func (c *child) stop() {
	_ = c.command.Process.Signal(os.Interrupt)
	_ = c.command.Wait()
	_ = c.log.Close()
}

// awaitListener waits until something listens at an address.
func awaitListener(ctx context.Context, address string) error {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	for {
		connection, err := net.DialTimeout("tcp", address, callTimeout)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing answers at %s: %w", address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
