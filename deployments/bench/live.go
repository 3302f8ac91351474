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
	liveSpeed   = 1.5
	liveLast    = 1.1
	webMemory   = 28 << 10 // bytes a browser
	logicMemory = 4 << 10
)

// flood is how many talks are published at once.
const flood = 20

// publishers is how many publish them.
const publishers = 4

// heard is what came of publishing to all browsers.
type heard struct {
	perSecond  float64
	last       time.Duration // of one event
	size       float64       // bytes of an event
	web, logic float64       // bytes a browser
}

// measureLive sends events to browsers through a web tier that has nothing to
// wait for and through the plain loop, in turn; and then by publishing talks,
// through all three tiers.
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

	fed, err := newStandIn(s.certificates())
	if err != nil {
		return err
	}
	defer fed.server.Stop()
	var addresses [3]string // web tier, its admin port, plain loop
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return err
		}
	}
	// A copy, so that its processes are told apart from the site's.
	program := b.program("web-tier-alone")
	if err := os.Link(s.program("web-tier"), program); err != nil {
		return err
	}
	web, err := b.background(program, "serve", "--listen-address", addresses[0], "--admin-address", addresses[1], "--logic-address", fed.address, "--certificates", s.certificates())
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
	var alone, whole, loop []heard
	if err := s.settle(ctx); err != nil {
		return err
	}
	for range b.runs + 1 {
		one, err := fed.measureWeb(ctx, program, addresses[0], n)
		if err != nil {
			return fmt.Errorf("web tier alone: %w", err)
		}
		alone = append(alone, one)
		if one, err = plainMeasure(ctx, b, addresses[2], n, one.size); err != nil {
			return fmt.Errorf("plain loop: %w", err)
		}
		loop = append(loop, one)
	}
	// After the others: Postgres tidies up behind a fan-out for a while.
	for range b.runs + 1 {
		one, err := audience.measure(ctx)
		if err != nil {
			return fmt.Errorf("all tiers: %w", err)
		}
		whole = append(whole, one)
	}
	// The first time each takes the memory that it then keeps.
	first, firstLoop, firstWhole := alone[0], loop[0], whole[0]
	alone, loop, whole = alone[1:], loop[1:], whole[1:]
	compare := func(what, format string, ours []heard, of func(heard) float64, target func(ratio float64) (string, bool)) row {
		var values, theirs, ratios []float64
		for i := range ours {
			values, theirs = append(values, of(ours[i])), append(theirs, of(loop[i]))
			ratios = append(ratios, of(ours[i])/of(loop[i]))
		}
		r := row{what: what, ours: spread(values, format), against: spread(theirs, format), ratio: fmt.Sprintf("%.2f", median(ratios))}
		if target != nil {
			r.target, r.met = target(median(ratios))
		}
		return r
	}
	speed := func(h heard) float64 { return h.perSecond }
	last := func(h heard) float64 { return h.last.Seconds() * 1e3 }
	deliveries := fmt.Sprintf("deliveries a second, %d events to %d browsers", flood, n)
	b.table("live", "plain loop",
		compare(deliveries+", web tier", "%.0f", alone, speed, func(r float64) (string, bool) { return fmt.Sprintf("at least %.1f", liveSpeed), r >= liveSpeed }),
		compare("one event, to the last browser, web tier", "%.0f ms", alone, last, func(r float64) (string, bool) { return fmt.Sprintf("at most %.1f", liveLast), r <= liveLast }),
		row{what: "memory a browser, web tier", ours: kilobytes(first.web), against: kilobytes(firstLoop.web), ratio: fmt.Sprintf("%.2f", first.web/firstLoop.web),
			target: "at most " + kilobytes(webMemory), met: first.web <= webMemory},
		row{what: "memory a browser, logic tier", ours: kilobytes(firstWhole.logic), target: "at most " + kilobytes(logicMemory), met: firstWhole.logic <= logicMemory},
		compare(deliveries+", published, through all tiers", "%.0f", whole, speed, nil),
		compare("one talk, published, to the last browser, through all tiers", "%.0f ms", whole, last, nil))
	return nil
}

func kilobytes(bytes float64) string { return fmt.Sprintf("%.1f KB", bytes/1024) }

// plainMeasure does with the plain loop what audience.measure does with the site.
func plainMeasure(ctx context.Context, b *bench, address string, n int, size float64) (h heard, err error) {
	pids := processes(b.program("plainloop"))
	before := resident(pids)
	all, err := open(ctx, address, n, func(int) string { return "GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n" })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web = (resident(pids) - before) / float64(n)
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

// measure publishes one event, and then many.
func (b *browsers) measure(ctx context.Context, h *heard, publish func(events int) error) error {
	n := int64(len(b.connections))
	one := func(events int) (time.Duration, error) {
		b.expect()
		began := time.Now()
		if err := publish(events); err != nil {
			return 0, err
		}
		err := b.await(ctx, int64(events)*n)
		return time.Unix(0, b.last.Load()).Sub(began), err
	}
	// The first makes what is made once.
	if _, err := one(1); err != nil {
		return err
	}
	h.size = float64(b.bytes.Load()) / float64(n)
	var err error
	if h.last, err = one(1); err != nil {
		return err
	}
	took, err := one(flood)
	h.perSecond = float64(int64(flood)*n) / took.Seconds()
	return err
}

// audience is browsers of as many accounts, all of which follow one channel.
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

func (a *audience) measure(ctx context.Context) (h heard, err error) {
	web, logic := a.site.pids("web-tier"), a.site.pids("logic-tier")
	webBefore, logicBefore := resident(web), resident(logic)
	all, err := open(ctx, a.site.web, a.n, func(n int) string { return follow(n + 1) })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web, h.logic = (resident(web)-webBefore)/float64(a.n), (resident(logic)-logicBefore)/float64(a.n)
	return h, all.measure(ctx, &h, func(events int) error { return a.publish(ctx, events) })
}

// publish publishes talks, several at the same time.
func (a *audience) publish(ctx context.Context, events int) error {
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	left := atomic.Int64{}
	left.Store(int64(events))
	for range min(publishers, events) {
		group.Go(func() {
			for left.Add(-1) >= 0 {
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
