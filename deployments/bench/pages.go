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

// Targets of a page from three processes, against one process.
const (
	pageThroughput = 0.70
	pageCPU        = 1.5
)

const (
	pageConnections = 32
	pageTalks       = 20
)

// measurePage requests the same pages from the site and from the collapsed program in turn.
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
	duration := time.Duration(b.size(4000, 300)) * time.Millisecond
	siteProcesses := func() []int {
		return append(append(s.pids("web-tier"), s.pids("logic-tier")...), s.pids("data-tier")...)
	}
	one := func() []int { return append(processes(b.program("collapsed")), s.pids("data-tier")...) }
	// Warm up connections, statements and caches.
	for _, target := range []string{s.web, address} {
		if _, err := loadFor(ctx, target, paths, duration/2, nil); err != nil {
			return err
		}
	}
	var rates, ratesOne, cpuTimes, cpuTimesOne, rateRatios, cpuRatios, latencies, latenciesOne []float64
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	cpuByTier := make([][]float64, len(tiers)) // µs per page
	for range b.runs {
		var before []time.Duration
		for _, tier := range tiers {
			before = append(before, cpuTime(s.pids(tier)))
		}
		a, err := loadFor(ctx, s.web, paths, duration, siteProcesses)
		if err != nil {
			return err
		}
		for i, tier := range tiers {
			cpuByTier[i] = append(cpuByTier[i], (cpuTime(s.pids(tier))-before[i]).Seconds()*1e6/float64(a.pages))
		}
		o, err := loadFor(ctx, address, paths, duration, one)
		if err != nil {
			return err
		}
		rates, ratesOne = append(rates, a.perSecond), append(ratesOne, o.perSecond)
		cpuTimes, cpuTimesOne = append(cpuTimes, a.cpu.Seconds()*1e6), append(cpuTimesOne, o.cpu.Seconds()*1e6)
		rateRatios = append(rateRatios, a.perSecond/o.perSecond)
		cpuRatios = append(cpuRatios, a.cpu.Seconds()/o.cpu.Seconds())
		for times, target := range map[*[]float64]string{&latencies: s.web, &latenciesOne: address} {
			took, err := latency(ctx, target, paths, b.size(400, 20))
			if err != nil {
				return err
			}
			*times = append(*times, took.Seconds()*1e3)
		}
	}
	rate, cpu := median(rateRatios), median(cpuRatios)
	b.table("page", "one process",
		row{label: "pages a second, 32 connections", ours: spread(rates, "%.0f"), baseline: spread(ratesOne, "%.0f"), ratio: fmt.Sprintf("%.2f", rate),
			target: fmt.Sprintf("at least %.2f", pageThroughput), met: rate >= pageThroughput},
		row{label: "CPU time for a page, all processes and Postgres", ours: spread(cpuTimes, "%.0f µs"), baseline: spread(cpuTimesOne, "%.0f µs"), ratio: fmt.Sprintf("%.2f", cpu),
			target: fmt.Sprintf("at most %.2f", pageCPU), met: cpu <= pageCPU},
		row{label: "of which web tier, logic tier, data tier", ours: fmt.Sprintf("%.0f, %.0f, %.0f µs", median(cpuByTier[0]), median(cpuByTier[1]), median(cpuByTier[2]))},
		row{label: "one page at a time, median latency", ours: spread(latencies, "%.2f ms"), baseline: spread(latenciesOne, "%.2f ms"), ratio: fmt.Sprintf("%.2f", median(latencies)/median(latenciesOne))})
	return nil
}

// withChannels returns the site with the catalogue imported, and the paths of full channel pages.
func (b *bench) withChannels(ctx context.Context) (*site, []string, error) {
	s, err := b.withCatalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	paths, err := s.fullChannels(ctx)
	return s, paths, err
}

// fullChannels returns paths of channel pages with the maximum number of talks.
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
		return nil, errors.New("no channel has enough talks to fill a page")
	}
	var page strings.Builder
	if err := s.get(ctx, paths[0], &page); err != nil {
		return nil, err
	}
	if n := strings.Count(page.String(), "<h3"); n != pageTalks {
		return nil, fmt.Errorf("%s: got %d talks, want %d", paths[0], n, pageTalks)
	}
	return paths, nil
}

// loadResult is the result of a load test.
type loadResult struct {
	pages     int64
	perSecond float64
	cpu       time.Duration // per page
}

// loadFor requests pages over pageConnections connections for a duration.
func loadFor(ctx context.Context, address string, paths []string, duration time.Duration, pids func() []int) (loadResult, error) {
	return loadOver(ctx, address, pageConnections, paths, duration, pids)
}

// loadOver requests pages over several connections, one at a time on each, for a duration. It
// measures the CPU time of the processes that pids returns, unless pids is nil.
func loadOver(ctx context.Context, address string, connections int, paths []string, duration time.Duration, pids func() []int) (loadResult, error) {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	var before time.Duration
	if pids != nil {
		before = cpuTime(pids())
	}
	began := time.Now()
	for c := range connections {
		group.Go(func() {
			if err := getRepeatedly(ctx, address, func(n int) (string, bool) {
				return paths[(c+n)%len(paths)], time.Since(began) < duration
			}, func() { count.Add(1) }); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return loadResult{}, *err
	}
	if count.Load() == 0 {
		return loadResult{}, fmt.Errorf("no page was rendered in %s by %s", took, address)
	}
	a := loadResult{pages: count.Load(), perSecond: float64(count.Load()) / took.Seconds()}
	if pids != nil {
		a.cpu = (cpuTime(pids()) - before) / time.Duration(count.Load())
	}
	return a, ctx.Err()
}

// latency returns the median latency of n requests, one at a time.
func latency(ctx context.Context, address string, paths []string, n int) (time.Duration, error) {
	return latencyOf(ctx, address, 1, paths, n)
}

// latencyOf returns the median latency when several clients send n requests each.
func latencyOf(ctx context.Context, address string, clients int, paths []string, n int) (time.Duration, error) {
	var group sync.WaitGroup
	var mu sync.Mutex
	var times []float64
	var failed error
	for range clients {
		group.Go(func() {
			var clientTimes []float64
			last := time.Now()
			err := getRepeatedly(ctx, address, func(i int) (string, bool) { return paths[i%len(paths)], i < n }, func() {
				now := time.Now()
				clientTimes = append(clientTimes, now.Sub(last).Seconds())
				last = now
			})
			mu.Lock()
			defer mu.Unlock()
			times = append(times, clientTimes...)
			failed = cmp.Or(failed, err)
		})
	}
	group.Wait()
	return time.Duration(median(times) * float64(time.Second)), failed
}

// getRepeatedly requests pages over one connection until next returns false, and calls onRendered
// for each rendered page. It ignores stale pages and rejections with Retry-After, so that a
// cold site or a stalled machine does not fail the measurement.
func getRepeatedly(ctx context.Context, address string, next func(n int) (path string, more bool), onRendered func()) error {
	client := &pageClient{address: address}
	if err := client.connect(); err != nil {
		return err
	}
	connection := client.connection
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	defer client.close()
	for n := 0; ; n++ {
		path, more := next(n)
		if !more {
			return nil
		}
		got, err := client.get(path)
		if err != nil {
			return err
		}
		switch {
		case got.status == http.StatusOK && got.age == "":
			onRendered()
		case got.age == "" && got.retryAfter == "":
			return fmt.Errorf("GET %s: %d %s", path, got.status, http.StatusText(got.status))
		}
	}
}

// child is a program that runs in the background.
type child struct {
	command *exec.Cmd
	log     *os.File
}

// background starts a program with its output in a log file.
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

// awaitListener waits until an address accepts connections.
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
			return fmt.Errorf("no program listens on %s: %w", address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
