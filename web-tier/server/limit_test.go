package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// visitors are people who ask again and again until end, each a moment after they were
// answered or sent away, for pages that take as long as takes says when so many are made
// at the same time. made counts the pages.
func visitors(r *room, count int, end time.Time, takes func(under int) time.Duration) (made *atomic.Int64) {
	made = new(atomic.Int64)
	for i := range count {
		go func() {
			for n := i; time.Now().Before(end); n++ {
				if r.enter(context.Background(), public) {
					began := time.Now()
					r.mu.Lock()
					under := r.limit.under
					r.mu.Unlock()
					// One takes a little longer than another.
					time.Sleep(takes(under) * time.Duration(100+n%7*5) / 100)
					r.leave(time.Since(began))
					made.Add(1)
				}
				time.Sleep(time.Duration(20+n%20) * time.Millisecond)
			}
		}()
	}
	return made
}

// On one core a page is slower by every other that is made at the same time: more than a
// few would only be slow, from the beginning of an overload to its end.
func TestOnOneCoreAFewPagesAreMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(prometheus.NewRegistry())
		const page = 2 * time.Millisecond
		core := func(under int) time.Duration { return time.Duration(under) * page }
		visitors(r, 2, time.Now().Add(10*time.Second), core)
		time.Sleep(11 * time.Second)
		const lasts = 150 * time.Second // longer than it is remembered how long a page takes
		began := time.Now()
		end := began.Add(lasts)
		made := visitors(r, 100, end, core)
		highest := 0
		for time.Sleep(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			highest = max(highest, r.size())
		}
		time.Sleep(time.Minute) // until the last is gone
		t.Logf("%d pages; the limit was %d at most", made.Load(), highest)
		if highest > 8 {
			t.Errorf("%d pages were made at a time", highest)
		}
		// What one core makes, less the moments in which it is found out how long a page takes.
		if least := int64(lasts / page * 7 / 10); made.Load() < least {
			t.Errorf("%d pages were made, want %d at least", made.Load(), least)
		}
	})
}

// Where a page waits for a network, and slows no other down, as many are made at a time as
// are asked for; also when the network has become slower since.
func TestOfPagesThatWaitAsManyAreMadeAsAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(prometheus.NewRegistry())
		moved := time.Now().Add(10 * time.Second)
		end := moved.Add(limitMemory + time.Minute)
		visitors(r, 50, end, func(int) time.Duration {
			if time.Now().Before(moved) {
				return 2 * time.Millisecond
			}
			return 200 * time.Millisecond
		})
		// Until it is found out anew how long a page takes.
		time.Sleep(time.Until(moved.Add(limitMemory + 30*time.Second)))
		waited := 0
		for time.Now().Before(end) {
			time.Sleep(100 * time.Millisecond)
			waited = max(waited, r.waits())
		}
		t.Logf("%d may be under way; %d waited at most", r.size(), waited)
		if waited > 0 {
			t.Errorf("of 50 who ask %d waited, and none is in the way of another", waited)
		}
		time.Sleep(time.Minute)
	})
}
