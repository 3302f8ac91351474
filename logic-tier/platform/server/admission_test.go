package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The limit is found out also when all who come are strangers: on one core, on which a
// call is slower by every other, it stays where it was.
func TestALoadOfStrangersDoesNotRaiseTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const least, most = 16, 512
		r := newRoom(least, most, prometheus.NewRegistry())
		end := time.Now().Add(5 * time.Minute)
		highest := 0
		for i := range 400 {
			go func() {
				for n := i; time.Now().Before(end); n++ {
					out, err := r.enter(public)
					if err != nil {
						time.Sleep(time.Duration(50+n%50) * time.Millisecond)
						continue
					}
					// A millisecond of work for each that is under way, more or less.
					time.Sleep(time.Duration(r.limiter.Inflight()) * time.Duration(900+n%7*30) * time.Microsecond)
					out.leave(true)
				}
			}()
		}
		for time.Now().Before(end) {
			time.Sleep(time.Second)
			highest = max(highest, r.limiter.Limit())
		}
		time.Sleep(time.Minute) // until the last is gone
		t.Logf("the limit was %d at most, and is %d", highest, r.limiter.Limit())
		if highest > 4*least {
			t.Errorf("the limit rose to %d", highest)
		}
	})
}
