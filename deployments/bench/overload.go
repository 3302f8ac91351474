package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Targets of three times what the site can answer.
const (
	overloadGoodput = 0.9
	overloadP99     = 3
	overloadMemory  = 1.3
)

const (
	// overload is how many times its peak the site is asked.
	overload = 3
	// overloadConnections is how many people ask side by side at most. One whose
	// answer is late is not there to ask again.
	overloadConnections = 600
)

// measureOverload asks for more than the site can answer, as people do: each when
// they come to it, not when the one before has been answered.
func measureOverload(ctx context.Context, b *bench) error {
	s, paths, err := b.withChannels(ctx)
	if err != nil {
		return err
	}
	undo, err := apart(append(append(s.pids("web-tier"), s.pids("logic-tier")...), s.pids("data-tier")...))
	if undo != nil {
		defer func() { _ = undo() }()
	}
	if err != nil {
		return err
	}
	long := time.Duration(b.size(60_000, 2000)) * time.Millisecond
	short := time.Duration(b.size(8000, 500)) * time.Millisecond
	if _, err := askAtRate(ctx, s.web, paths, 500, short/2); err != nil {
		return err
	}
	var peaks, goods, made, goodRatio, halfP99, overP99, p99Ratio, grown, refused []float64
	both := func() float64 { return resident(s.pids("web-tier")) + resident(s.pids("logic-tier")) }
	for range b.runs {
		peak, err := peakRate(ctx, s.web, paths, short/4)
		if err != nil {
			return err
		}
		half, err := askAtRate(ctx, s.web, paths, peak/2, short)
		if err != nil {
			return err
		}
		var early, late float64
		read := make(chan struct{})
		go func() {
			defer close(read)
			time.Sleep(long / 4)
			early = both()
			time.Sleep(long / 2)
			late = both()
		}()
		over, err := askAtRate(ctx, s.web, paths, overload*peak, long)
		if err != nil {
			return err
		}
		<-read
		good := over.good() + float64(over.stale)/over.lasted.Seconds()
		made = append(made, over.good())
		peaks, goods, goodRatio = append(peaks, peak), append(goods, good), append(goodRatio, good/peak)
		h, o := percentile(half.took, 99)*1e3, percentile(over.took, 99)*1e3
		halfP99, overP99, p99Ratio = append(halfP99, h), append(overP99, o), append(p99Ratio, o/h)
		grown = append(grown, late/early)
		refused = append(refused, float64(over.refused)/over.lasted.Seconds())
		if over.failed > 0 {
			fmt.Printf("  %d of %d were answered neither with the page nor with when to come back\n", over.failed, over.asked)
		}
	}
	b.table("overload", "at its peak", // the load on a core of its own
		row{what: fmt.Sprintf("pages a second, asked for %d times as many", overload), ours: spread(goods, "%.0f"), against: spread(peaks, "%.0f"), ratio: fmt.Sprintf("%.2f", median(goodRatio)),
			target: fmt.Sprintf("at least %.1f", overloadGoodput), met: median(goodRatio) >= overloadGoodput},
		row{what: "of them made anew, the others shown as they were", ours: spread(made, "%.0f"), ratio: fmt.Sprintf("%.2f", median(made)/median(peaks))},
		row{what: "99 of 100 pages made anew, against half the load", ours: spread(overP99, "%.1f ms"), against: spread(halfP99, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(p99Ratio)),
			target: fmt.Sprintf("at most %d", overloadP99), met: median(p99Ratio) <= overloadP99},
		row{what: "memory of web and logic tier, late against early", ratio: fmt.Sprintf("%.2f", median(grown)),
			target: fmt.Sprintf("at most %.1f", overloadMemory), met: median(grown) <= overloadMemory},
		row{what: "told when to come back, a second", ours: spread(refused, "%.0f")})
	return nil
}

// rated is what came of asking at a rate.
type rated struct {
	took                          []float64 // of each page, in seconds, from when it was wanted
	asked, stale, refused, failed int
	lasted                        time.Duration
}

// good is how many pages were answered a second.
func (r rated) good() float64 { return float64(len(r.took)) / r.lasted.Seconds() }

// peakRate finds out how many pages a second are answered at most: more are asked for,
// for a while each time, until no more are answered.
func peakRate(ctx context.Context, address string, paths []string, long time.Duration) (peak float64, err error) {
	for rate, missed := 500.0, 0; missed < 3; rate *= 1.25 {
		at, err := askAtRate(ctx, address, paths, rate, long)
		if err != nil {
			return 0, err
		}
		if missed++; at.good() > peak {
			peak, missed = at.good(), 0
		}
	}
	return peak, nil
}

// askAtRate asks for pages at a rate, whatever becomes of the ones before.
func askAtRate(ctx context.Context, address string, paths []string, perSecond float64, long time.Duration) (rated, error) {
	wanted := make(chan time.Time)
	var mu sync.Mutex
	var all rated
	var group, there sync.WaitGroup
	there.Add(overloadConnections)
	for c := range overloadConnections {
		group.Go(func() {
			var own rated
			a := &asker{address: address}
			defer a.close()
			_ = a.connect() // otherwise with what it asks first
			there.Done()
			for at := range wanted {
				got, err := a.ask(paths[(c+own.asked)%len(paths)])
				own.asked++
				switch {
				case err == nil && got.status == http.StatusOK && got.age != "":
					own.stale++
				case err == nil && got.status == http.StatusOK:
					own.took = append(own.took, time.Since(at).Seconds())
				case err == nil && (got.status == http.StatusServiceUnavailable || got.status == http.StatusTooManyRequests) && got.again != "":
					own.refused++
				default:
					own.failed++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.took = append(all.took, own.took...)
			all.asked, all.stale, all.refused, all.failed = all.asked+own.asked, all.stale+own.stale, all.refused+own.refused, all.failed+own.failed
		})
	}
	there.Wait() // what is measured is pages, not the making of connections
	began := time.Now()
	sent := 0
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		since := time.Since(began)
		if since >= long || ctx.Err() != nil {
			tick.Stop()
			break
		}
		for ; float64(sent) < perSecond*since.Seconds(); sent++ {
			select {
			case wanted <- time.Now():
			default: // everybody waits already
			}
		}
	}
	all.lasted = time.Since(began)
	close(wanted)
	group.Wait()
	return all, ctx.Err()
}
