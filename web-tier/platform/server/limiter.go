package server

import (
	"math"
	"slices"
	"time"
)

// limiter is an adaptive concurrency limit for page requests, with a latency gradient
// after FAST TCP. The limit converges on the number of requests that can be in flight
// without slowing each other down, plus some headroom (Wei, Jin, Low, Hegde, "FAST TCP",
// IEEE/ACM Transactions on Networking 14, 6). Where one core renders every page, that is a
// handful; where pages wait for a network, as many as the network has in transit.
//
// The base latency is that of a page which nothing slows down. It expires after
// baseLatencyTTL, because the mix of pages and the network change, and at once when the
// latency has grown by more than the requests in flight can explain. Under sustained load
// the limiter measures it again by lowering the limit for a moment (Cardwell and others,
// "BBR: Congestion-Based Congestion Control", ACM Queue 14, 5: "ProbeRTT").
//
// The logic tier rejects excess calls at once and uses a library's limiter, which moves in
// steps of one and starts far above the optimum. Here a request waits for its slot, and
// must not wait for long.
//
// A limiter is not safe for concurrent use.
type limiter struct {
	limit    float64
	inFlight int

	// The current sample window.
	windowStart time.Time
	latencies   []time.Duration
	saturated   bool // a request found no free slot

	baseLatency time.Duration // 0 when unknown
	measuredAt  time.Time     // when baseLatency was measured
	savedLimit  float64       // the limit to restore after a probe; 0 when not probing
	drained     bool          // the requests admitted before the probe have finished
}

func newLimiter() limiter { return limiter{limit: initialLimit, windowStart: time.Now()} }

// current returns the limit in whole requests.
func (l *limiter) current() int { return int(l.limit) }

// acquire takes a slot. It reports false when none is free.
func (l *limiter) acquire() bool {
	if l.inFlight >= l.current() {
		l.saturated = true
		return false
	}
	l.inFlight++
	return true
}

// release returns a slot.
func (l *limiter) release() { l.inFlight-- }

// observe records the latency of a page, and adapts the limit once the window holds enough
// of them.
func (l *limiter) observe(latency time.Duration) {
	l.latencies = append(l.latencies, latency)
	if n := len(l.latencies); n < minSamples || n < maxSamples && time.Since(l.windowStart) < sampleWindow {
		return
	}
	slices.Sort(l.latencies)
	l.adapt(l.latencies[len(l.latencies)/2], time.Now())
	l.windowStart, l.latencies, l.saturated = time.Now(), l.latencies[:0], false
}

// adapt adapts the limit to the median latency of a window.
func (l *limiter) adapt(median time.Duration, now time.Time) {
	expired := now.Sub(l.measuredAt) > baseLatencyTTL
	slowdown := float64(median) / float64(max(l.baseLatency, 1))
	switch {
	case l.savedLimit > 0 && !l.drained:
		l.drained = true // this window still measured requests admitted before the probe
		return
	case l.savedLimit > 0:
		l.limit, l.savedLimit, l.drained = l.savedLimit, 0, false
		l.baseLatency, l.measuredAt = median, now
	case median < l.baseLatency || l.baseLatency == 0 || expired && !l.saturated:
		l.baseLatency, l.measuredAt = median, now
	case l.saturated && (expired && slowdown > latencyTolerance || slowdown > externalSlowdown*l.limit):
		l.savedLimit, l.limit = l.limit, minLimit
		return
	case expired:
		l.measuredAt = now // the base latency still holds
	}
	if !l.saturated {
		// A higher limit would have no effect now. Return to initialLimit, so that the limit
		// of an overload does not outlive it.
		l.limit = max(l.limit, min(l.limit+1, initialLimit))
		return
	}
	gradient := min(1, latencyTolerance*float64(l.baseLatency)/float64(median))
	// The square root is the headroom for the variance of arrivals (Halfin, Whitt,
	// "Heavy-Traffic Limits for Queues with Many Exponential Servers", Operations Research 29, 3).
	target := l.limit*gradient + math.Sqrt(l.limit)
	l.limit = min(max((l.limit+target)/2, minLimit), maxLimit)
}
