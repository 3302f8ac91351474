package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sustained load from public reads alone does not raise the limit when concurrency
// only slows each call, as on one core.
func TestAdmission_LimitStaysLowUnderPublicLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minLimit, maxLimit = 16, 512
		a := newAdmission(minLimit, maxLimit, prometheus.NewRegistry())
		end := time.Now().Add(5 * time.Minute)
		highest := 0
		for i := range 400 {
			go func() {
				for n := i; time.Now().Before(end); n++ {
					slot, err := a.acquire(public)
					if err != nil {
						time.Sleep(time.Duration(50+n%50) * time.Millisecond)
						continue
					}
					// About a millisecond of work for each call in flight.
					time.Sleep(time.Duration(a.limiter.Inflight()) * time.Duration(900+n%7*30) * time.Microsecond)
					slot.release(true)
				}
			}()
		}
		for time.Now().Before(end) {
			time.Sleep(time.Second)
			highest = max(highest, a.limiter.Limit())
		}
		time.Sleep(time.Minute) // until the last call has finished
		t.Logf("highest limit %d, final limit %d", highest, a.limiter.Limit())
		if highest > 4*minLimit {
			t.Errorf("highest limit: got %d, want at most %d", highest, 4*minLimit)
		}
	})
}
