package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sendRequests requests pages one after the other until end, with a short pause after each
// response. latency is how long a page takes with that many requests in flight.
func sendRequests(a *admission, client int, end time.Time, latency func(inFlight int) time.Duration, served, rejected *atomic.Int64) {
	for n := client; time.Now().Before(end); n++ {
		if a.acquire(context.Background(), anonymous) {
			start := time.Now()
			a.mu.Lock()
			inFlight := a.limiter.inFlight
			a.mu.Unlock()
			// Some pages take a little longer than others.
			time.Sleep(latency(inFlight) * time.Duration(100+n%7*5) / 100)
			a.release(time.Since(start))
			served.Add(1)
		} else {
			rejected.Add(1)
		}
		time.Sleep(time.Duration(20+n%20) * time.Millisecond)
	}
}

// On a single core every request in flight slows down all others: a high limit would only
// add latency, from the beginning of an overload to its end.
func TestLimiter_StaysLowWhenPagesShareOneCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(prometheus.NewRegistry())
		const page = 2 * time.Millisecond
		latency := func(inFlight int) time.Duration { return time.Duration(inFlight) * page }
		var served, rejected atomic.Int64
		for client := range 2 {
			go sendRequests(a, client, time.Now().Add(10*time.Second), latency, &served, &rejected)
		}
		time.Sleep(11 * time.Second)
		const duration = 150 * time.Second // longer than baseLatencyTTL
		end := time.Now().Add(duration)
		for client := range 100 {
			go sendRequests(a, client, end, latency, &served, &rejected)
		}
		highest := 0
		for time.Sleep(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			highest = max(highest, a.limit())
		}
		time.Sleep(time.Minute) // until the last request has finished
		t.Logf("%d pages; highest limit %d", served.Load(), highest)
		if highest > 8 {
			t.Errorf("got a limit of %d, want at most 8", highest)
		}
		// The throughput of one core, less the time spent on probing the base latency.
		if minimum := int64(duration / page * 7 / 10); served.Load() < minimum {
			t.Errorf("got %d pages served, want at least %d", served.Load(), minimum)
		}

		end = time.Now().Add(time.Minute)
		for client := range 2 {
			go sendRequests(a, client, end, latency, &served, &rejected)
		}
		time.Sleep(2 * time.Minute)
		if a.limit() < initialLimit {
			t.Errorf("got a limit of %d after the overload, want at least %d", a.limit(), initialLimit)
		}
	})
}

// Where pages wait for a network and do not slow each other down, the limit grows with the
// demand, also after the network has become slower.
func TestLimiter_GrowsWithDemandWhenPagesWaitForTheNetwork(t *testing.T) {
	for _, network := range []struct {
		latency, detected time.Duration
	}{
		{200 * time.Millisecond, 10 * time.Second},
		// The requests in flight could explain this latency, until it is measured again.
		{12 * time.Millisecond, baseLatencyTTL + 10*time.Second},
	} {
		t.Run(network.latency.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAdmission(prometheus.NewRegistry())
				slowed := time.Now().Add(10 * time.Second)
				end := slowed.Add(3 * baseLatencyTTL)
				latency := func(int) time.Duration {
					if time.Now().Before(slowed) {
						return 2 * time.Millisecond
					}
					return network.latency
				}
				var served, rejected atomic.Int64
				for client := range 50 {
					go sendRequests(a, client, end, latency, &served, &rejected)
				}
				time.Sleep(time.Until(slowed.Add(network.detected)))
				before := rejected.Load()
				for client := 50; time.Now().Before(end); client++ {
					go sendRequests(a, client, end, latency, &served, &rejected)
					time.Sleep(time.Second)
				}
				t.Logf("%d pages; limit %d; %d rejected, %d of them before the change was detected", served.Load(), a.limit(), rejected.Load(), before)
				if after := rejected.Load() - before; after > 0 {
					t.Errorf("got %d requests rejected after the change was detected, want 0", after)
				}
				time.Sleep(time.Minute) // until the last request has finished
			})
		})
	}
}
