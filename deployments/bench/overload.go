package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Targets at three times the peak load.
const (
	overloadGoodput = 0.9
	overloadP99     = 3
	overloadMemory  = 1.3
)

const (
	// overload is the load as a multiple of the site's peak.
	overload = 3
	// overloadConnections is the maximum number of concurrent requests. A client that waits for
	// a response does not send another request.
	overloadConnections = 600
)

// measureOverload sends more requests than the site can serve. The load is open-loop, as from
// independent users: requests arrive at a rate, whether or not earlier ones were answered.
func measureOverload(ctx context.Context, b *bench) error {
	s, paths, err := b.withChannels(ctx)
	if err != nil {
		return err
	}
	restore, err := separateCores(append(append(s.pids("web-tier"), s.pids("logic-tier")...), s.pids("data-tier")...))
	if restore != nil {
		defer func() { _ = restore() }()
	}
	if err != nil {
		return err
	}
	duration := time.Duration(b.size(60_000, 2000)) * time.Millisecond
	short := time.Duration(b.size(8000, 500)) * time.Millisecond
	if _, err := loadAtRate(ctx, s.web, paths, 500, short/2); err != nil {
		return err
	}
	var peaks, goodputs, rendered, goodputRatios, halfP99, overP99, p99Ratio, memoryRatios, refused []float64
	memoryOfBoth := func() float64 { return residentMemory(s.pids("web-tier")) + residentMemory(s.pids("logic-tier")) }
	for range b.runs {
		peak, err := peakRate(ctx, s.web, paths, short/4)
		if err != nil {
			return err
		}
		halfLoad, err := loadAtRate(ctx, s.web, paths, peak/2, short)
		if err != nil {
			return err
		}
		var early, late float64
		read := make(chan struct{})
		go func() {
			defer close(read)
			time.Sleep(duration / 4)
			early = memoryOfBoth()
			time.Sleep(duration / 2)
			late = memoryOfBoth()
		}()
		overloaded, err := loadAtRate(ctx, s.web, paths, overload*peak, duration)
		if err != nil {
			return err
		}
		<-read
		goodput := overloaded.goodput() + float64(overloaded.stale)/overloaded.elapsed.Seconds()
		rendered = append(rendered, overloaded.goodput())
		peaks, goodputs, goodputRatios = append(peaks, peak), append(goodputs, goodput), append(goodputRatios, goodput/peak)
		halfLatency, overLatency := percentile(halfLoad.latencies, 99)*1e3, percentile(overloaded.latencies, 99)*1e3
		halfP99, overP99, p99Ratio = append(halfP99, halfLatency), append(overP99, overLatency), append(p99Ratio, overLatency/halfLatency)
		memoryRatios = append(memoryRatios, late/early)
		refused = append(refused, float64(overloaded.refused)/overloaded.elapsed.Seconds())
		if overloaded.failed > 0 {
			fmt.Printf("  %d of %d requests failed: neither a page nor a rejection with Retry-After\n", overloaded.failed, overloaded.requests)
		}
	}
	b.table("overload", "at peak load", // the load generator has its own core
		row{label: fmt.Sprintf("pages a second at %d times the peak load", overload), ours: spread(goodputs, "%.0f"), baseline: spread(peaks, "%.0f"), ratio: fmt.Sprintf("%.2f", median(goodputRatios)),
			target: fmt.Sprintf("at least %.1f", overloadGoodput), met: median(goodputRatios) >= overloadGoodput},
		row{label: "of which rendered, not served stale", ours: spread(rendered, "%.0f"), ratio: fmt.Sprintf("%.2f", median(rendered)/median(peaks))},
		row{label: "99th percentile of rendered pages, against half the load", ours: spread(overP99, "%.1f ms"), baseline: spread(halfP99, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(p99Ratio)),
			target: fmt.Sprintf("at most %d", overloadP99), met: median(p99Ratio) <= overloadP99},
		row{label: "memory of web and logic tier, late against early in the overload", ratio: fmt.Sprintf("%.2f", median(memoryRatios)),
			target: fmt.Sprintf("at most %.1f", overloadMemory), met: median(memoryRatios) <= overloadMemory},
		row{label: "rejections with Retry-After, a second", ours: spread(refused, "%.0f")})
	return nil
}

// rateResult is the result of a load at a fixed rate.
type rateResult struct {
	latencies                        []float64 // of rendered pages, in seconds from the scheduled time
	requests, stale, refused, failed int
	elapsed                          time.Duration
}

// goodput returns the rendered pages a second.
func (r rateResult) goodput() float64 { return float64(len(r.latencies)) / r.elapsed.Seconds() }

// peakRate returns the maximum goodput. It increases the rate until three steps in a row bring no
// improvement.
func peakRate(ctx context.Context, address string, paths []string, duration time.Duration) (peak float64, err error) {
	for rate, missed := 500.0, 0; missed < 3; rate *= 1.25 {
		at, err := loadAtRate(ctx, address, paths, rate, duration)
		if err != nil {
			return 0, err
		}
		if missed++; at.goodput() > peak {
			peak, missed = at.goodput(), 0
		}
	}
	return peak, nil
}

// loadAtRate requests pages at a rate, independent of the responses.
func loadAtRate(ctx context.Context, address string, paths []string, perSecond float64, duration time.Duration) (rateResult, error) {
	scheduled := make(chan time.Time)
	var mu sync.Mutex
	var all rateResult
	var group, connected sync.WaitGroup
	connected.Add(overloadConnections)
	for c := range overloadConnections {
		group.Go(func() {
			var result rateResult
			client := &pageClient{address: address}
			defer client.close()
			_ = client.connect() // an error leaves it to the first request
			connected.Done()
			for at := range scheduled {
				got, err := client.get(paths[(c+result.requests)%len(paths)])
				result.requests++
				switch {
				case err == nil && got.status == http.StatusOK && got.age != "":
					result.stale++
				case err == nil && got.status == http.StatusOK:
					result.latencies = append(result.latencies, time.Since(at).Seconds())
				case err == nil && (got.status == http.StatusServiceUnavailable || got.status == http.StatusTooManyRequests) && got.retryAfter != "":
					result.refused++
				default:
					result.failed++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.latencies = append(all.latencies, result.latencies...)
			all.requests, all.stale, all.refused, all.failed = all.requests+result.requests, all.stale+result.stale, all.refused+result.refused, all.failed+result.failed
		})
	}
	connected.Wait() // measure pages, not connection set-up
	began := time.Now()
	sent := 0
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		since := time.Since(began)
		if since >= duration || ctx.Err() != nil {
			tick.Stop()
			break
		}
		for ; float64(sent) < perSecond*since.Seconds(); sent++ {
			select {
			case scheduled <- time.Now():
			default: // all connections are busy
			}
		}
	}
	all.elapsed = time.Since(began)
	close(scheduled)
	group.Wait()
	return all, ctx.Err()
}
