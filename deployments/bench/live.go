package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Targets of live delivery, against a plain loop.
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

// measureLive publishes a talk, and then many at once, on a channel that all
// browsers follow; the plain loop is given events of the same size.
func measureLive(ctx context.Context, b *bench) error {
	s, err := b.running(ctx)
	if err != nil {
		return err
	}
	audience, err := newAudience(ctx, s, b.size(10_000, 200))
	if err != nil {
		return err
	}
	defer audience.close()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	plain, err := b.background(b.program("plainloop"), "-listen-address", address)
	if err != nil {
		return err
	}
	defer plain.stop()
	if err := awaitListener(ctx, address); err != nil {
		return err
	}
	var ours, theirs []heard
	for range b.runs + 1 {
		one, err := audience.measure(ctx)
		if err != nil {
			return err
		}
		ours = append(ours, one)
		if one, err = plainMeasure(ctx, b, address, audience.n, one.size); err != nil {
			return err
		}
		theirs = append(theirs, one)
	}
	// A first time, for both: memory is taken, tables grow. What a browser
	// takes is seen best there.
	first, firstPlain := ours[0], theirs[0]
	ours, theirs = ours[1:], theirs[1:]
	pick := func(all []heard, what func(heard) float64) (values []float64) {
		for _, one := range all {
			values = append(values, what(one))
		}
		return values
	}
	speed := func(h heard) float64 { return h.perSecond }
	last := func(h heard) float64 { return h.last.Seconds() * 1e3 }
	ratio := func(what func(heard) float64) (ratios []float64) {
		for i := range ours {
			ratios = append(ratios, what(ours[i])/what(theirs[i]))
		}
		return ratios
	}
	speeds, lasts := median(ratio(speed)), median(ratio(last))
	b.table("live", "plain loop",
		row{what: fmt.Sprintf("deliveries a second, %d events to %d browsers", flood, audience.n), ours: spread(pick(ours, speed), "%.0f"), against: spread(pick(theirs, speed), "%.0f"),
			ratio: fmt.Sprintf("%.2f", speeds), target: fmt.Sprintf("at least %.1f", liveSpeed), met: speeds >= liveSpeed},
		row{what: "one event, to the last browser", ours: spread(pick(ours, last), "%.0f ms"), against: spread(pick(theirs, last), "%.0f ms"),
			ratio: fmt.Sprintf("%.2f", lasts), target: fmt.Sprintf("at most %.1f", liveLast), met: lasts <= liveLast},
		row{what: "memory a browser, web tier", ours: kilobytes(first.web), against: kilobytes(firstPlain.web), ratio: fmt.Sprintf("%.2f", first.web/firstPlain.web),
			target: "at most " + kilobytes(webMemory), met: first.web <= webMemory},
		row{what: "memory a browser, logic tier", ours: kilobytes(first.logic), target: "at most " + kilobytes(logicMemory), met: first.logic <= logicMemory})
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
	if a.publisher, err = newPublisher(ctx, connection, "bench-live"); err == nil {
		a.channel, err = a.publisher.channel(ctx, db, "bench-live", 1, n)
	}
	return a, err
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
