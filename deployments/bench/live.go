package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Targets of live delivery in the web tier, against a plain loop.
const (
	liveRate    = 1.5
	liveLast    = 1.1
	webMemory   = 28 << 10 // bytes per browser
	logicMemory = 4 << 10
)

// burstTalks is the number of talks in a burst.
const burstTalks = 20

// burstPublishers is the number of concurrent publishers of a burst.
const burstPublishers = 4

// deliveryResult is the result of publishing to all browsers.
type deliveryResult struct {
	rate       float64
	last       time.Duration // one event, to the last browser
	size       float64       // bytes of an event
	web, logic float64       // bytes per browser
}

// measureLive sends events to browsers through the web tier alone, with a fake logic tier, and
// through the plain loop, in turn. Then it publishes talks through all three tiers.
func measureLive(ctx context.Context, b *bench) error {
	s, err := b.running(ctx)
	if err != nil {
		return err
	}
	n := b.size(10_000, 200)
	audience, err := newAudience(ctx, s, n)
	if err != nil {
		return err
	}
	defer audience.close()

	logic, err := newFakeLogicTier(s.certificates())
	if err != nil {
		return err
	}
	defer logic.server.Stop()
	var addresses [3]string // web tier, its admin port, plain loop
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return err
		}
	}
	// Another name distinguishes its processes from those of the site.
	program := b.program("web-tier-alone")
	if err := os.Link(s.program("web-tier"), program); err != nil {
		return err
	}
	web, err := b.background(program, "serve", "--listen-address", addresses[0], "--admin-address", addresses[1], "--logic-address", logic.address, "--certificates", s.certificates())
	if err != nil {
		return err
	}
	defer web.stop()
	plain, err := b.background(b.program("plainloop"), "-listen-address", addresses[2])
	if err != nil {
		return err
	}
	defer plain.stop()
	for _, address := range []string{addresses[0], addresses[2]} {
		if err := awaitListener(ctx, address); err != nil {
			return err
		}
	}
	var webAlone, allTiers, loop []deliveryResult
	if err := s.settle(ctx); err != nil {
		return err
	}
	for range b.runs + 1 {
		one, err := logic.measureWeb(ctx, program, addresses[0], n)
		if err != nil {
			return fmt.Errorf("web tier alone: %w", err)
		}
		webAlone = append(webAlone, one)
		if one, err = plainMeasure(ctx, b, addresses[2], n, one.size); err != nil {
			return fmt.Errorf("plain loop: %w", err)
		}
		loop = append(loop, one)
	}
	// Last, because Postgres cleans up for a while after a fan-out.
	for range b.runs + 1 {
		one, err := audience.measure(ctx)
		if err != nil {
			return fmt.Errorf("all tiers: %w", err)
		}
		allTiers = append(allTiers, one)
	}
	// The first round of each allocates memory that later rounds reuse.
	first, firstLoop, firstAllTiers := webAlone[0], loop[0], allTiers[0]
	webAlone, loop, allTiers = webAlone[1:], loop[1:], allTiers[1:]
	compare := func(label, format string, ours []deliveryResult, value func(deliveryResult) float64, target func(ratio float64) (string, bool)) row {
		var values, theirs, ratios []float64
		for i := range ours {
			values, theirs = append(values, value(ours[i])), append(theirs, value(loop[i]))
			ratios = append(ratios, value(ours[i])/value(loop[i]))
		}
		r := row{label: label, ours: spread(values, format), baseline: spread(theirs, format), ratio: fmt.Sprintf("%.2f", median(ratios))}
		if target != nil {
			r.target, r.met = target(median(ratios))
		}
		return r
	}
	speed := func(h deliveryResult) float64 { return h.rate }
	last := func(h deliveryResult) float64 { return h.last.Seconds() * 1e3 }
	deliveries := fmt.Sprintf("deliveries a second, %d events to %d browsers", burstTalks, n)
	b.table("live", "plain loop",
		compare(deliveries+", web tier", "%.0f", webAlone, speed, func(r float64) (string, bool) { return fmt.Sprintf("at least %.1f", liveRate), r >= liveRate }),
		compare("one event to the last browser, web tier", "%.0f ms", webAlone, last, func(r float64) (string, bool) { return fmt.Sprintf("at most %.1f", liveLast), r <= liveLast }),
		row{label: "memory per browser, web tier", ours: kilobytes(first.web), baseline: kilobytes(firstLoop.web), ratio: fmt.Sprintf("%.2f", first.web/firstLoop.web),
			target: "at most " + kilobytes(webMemory), met: first.web <= webMemory},
		row{label: "memory per browser, logic tier", ours: kilobytes(firstAllTiers.logic), target: "at most " + kilobytes(logicMemory), met: firstAllTiers.logic <= logicMemory},
		compare(deliveries+", all tiers", "%.0f", allTiers, speed, nil),
		compare("one talk to the last browser, all tiers", "%.0f ms", allTiers, last, nil))
	return nil
}

func kilobytes(bytes float64) string { return fmt.Sprintf("%.1f KB", bytes/1024) }

// plainMeasure is like audience.measure, for the plain loop.
func plainMeasure(ctx context.Context, b *bench, address string, n int, size float64) (h deliveryResult, err error) {
	pids := processes(b.program("plainloop"))
	before := residentMemory(pids)
	all, err := open(ctx, address, n, func(int) string { return "GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n" })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web = (residentMemory(pids) - before) / float64(n)
	publish := func(events int) error {
		ctx, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/publish?n=%d&size=%.0f", address, events, size), nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	return h, all.measure(ctx, &h, publish)
}

// measure publishes one event, and then a burst.
func (b *browsers) measure(ctx context.Context, h *deliveryResult, publish func(events int) error) error {
	n := int64(len(b.connections))
	timeDelivery := func(events int) (time.Duration, error) {
		b.reset()
		began := time.Now()
		if err := publish(events); err != nil {
			return 0, err
		}
		err := b.await(ctx, int64(events)*n)
		return time.Unix(0, b.last.Load()).Sub(began), err
	}
	// The first event warms up.
	if _, err := timeDelivery(1); err != nil {
		return err
	}
	h.size = float64(b.bytes.Load()) / float64(n)
	var err error
	if h.last, err = timeDelivery(1); err != nil {
		return err
	}
	took, err := timeDelivery(burstTalks)
	h.rate = float64(int64(burstTalks)*n) / took.Seconds()
	return err
}

// audience is a set of browsers, each of another account, that follow one channel.
type audience struct {
	site      *site
	n         int
	publisher *publisher
	channel   string
	close     func()
	published atomic.Int64
}

func newAudience(ctx context.Context, s *site, n int) (*audience, error) {
	db, err := s.superuser(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := followers(ctx, db, n); err != nil {
		return nil, err
	}
	connection, err := s.operator()
	if err != nil {
		return nil, err
	}
	a := &audience{site: s, n: n, close: func() { _ = connection.Close() }}
	if a.publisher, err = newPublisher(ctx, connection, "bench-live"); err != nil {
		return nil, err
	}
	if a.channel, err = a.publisher.channel(ctx, db, "bench-live", 1, n); err != nil {
		return nil, err
	}
	return a, s.restart(ctx, "logic-tier")
}

func (a *audience) measure(ctx context.Context) (h deliveryResult, err error) {
	web, logic := a.site.pids("web-tier"), a.site.pids("logic-tier")
	webBefore, logicBefore := residentMemory(web), residentMemory(logic)
	all, err := open(ctx, a.site.web, a.n, func(n int) string { return follow(n + 1) })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web, h.logic = (residentMemory(web)-webBefore)/float64(a.n), (residentMemory(logic)-logicBefore)/float64(a.n)
	return h, all.measure(ctx, &h, func(events int) error { return a.publish(ctx, events) })
}

// publish publishes talks concurrently.
func (a *audience) publish(ctx context.Context, events int) error {
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	remaining := atomic.Int64{}
	remaining.Store(int64(events))
	for range min(burstPublishers, events) {
		group.Go(func() {
			for remaining.Add(-1) >= 0 {
				if _, err := a.publisher.publish(ctx, a.channel, fmt.Sprint("Live talk ", a.published.Add(1))); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
