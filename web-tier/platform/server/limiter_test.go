package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// visitor is somebody who asks again and again until end, a moment after they were
// answered or sent away each time, for pages that take as long as takes says when so many
// are made at the same time.
func visitor(r *room, who int, end time.Time, takes func(under int) time.Duration, made, refused *atomic.Int64) {
	for n := who; time.Now().Before(end); n++ {
		if r.enter(context.Background(), public) {
			began := time.Now()
			r.mu.Lock()
			under := r.limit.under
			r.mu.Unlock()
			// One takes a little longer than another.
			time.Sleep(takes(under) * time.Duration(100+n%7*5) / 100)
			r.leave(time.Since(began))
			made.Add(1)
		} else {
			refused.Add(1)
		}
		time.Sleep(time.Duration(20+n%20) * time.Millisecond)
	}
}

// On one core a page is slower by every other that is made at the same time: more than a
// few would only be slow, from the beginning of an overload to its end.
func TestOnOneCoreAFewPagesAreMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(prometheus.NewRegistry())
		const page = 2 * time.Millisecond
		core := func(under int) time.Duration { return time.Duration(under) * page }
		var made, refused atomic.Int64
		for who := range 2 {
			go visitor(r, who, time.Now().Add(10*time.Second), core, &made, &refused)
		}
		time.Sleep(11 * time.Second)
		const lasts = 150 * time.Second // longer than it is remembered how long a page takes
		end := time.Now().Add(lasts)
		for who := range 100 {
			go visitor(r, who, end, core, &made, &refused)
		}
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

		end = time.Now().Add(time.Minute)
		for who := range 2 {
			go visitor(r, who, end, core, &made, &refused)
		}
		time.Sleep(2 * time.Minute)
		if r.size() < firstUnderWay {
			t.Errorf("when the overload is over, %d may be made at a time, want %d", r.size(), firstUnderWay)
		}
	})
}

// Where a page waits for a network, and slows no other down, as many are made at a time as
// are asked for; also when the network has become slower, and when more and more come.
func TestOfPagesThatWaitAsManyAreMadeAsAreAskedFor(t *testing.T) {
	for _, slower := range []struct {
		page, noticed time.Duration
	}{
		{200 * time.Millisecond, 10 * time.Second},
		// This might be those under way, until it is found out anew.
		{12 * time.Millisecond, limitMemory + 10*time.Second},
	} {
		t.Run(slower.page.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(prometheus.NewRegistry())
				moved := time.Now().Add(10 * time.Second)
				end := moved.Add(3 * limitMemory)
				far := func(int) time.Duration {
					if time.Now().Before(moved) {
						return 2 * time.Millisecond
					}
					return slower.page
				}
				var made, refused atomic.Int64
				for who := range 50 {
					go visitor(r, who, end, far, &made, &refused)
				}
				time.Sleep(time.Until(moved.Add(slower.noticed)))
				before := refused.Load()
				for who := 50; time.Now().Before(end); who++ {
					go visitor(r, who, end, far, &made, &refused)
					time.Sleep(time.Second)
				}
				t.Logf("%d pages; %d may be under way; %d were sent away, %d of them before", made.Load(), r.size(), refused.Load(), before)
				if since := refused.Load() - before; since > 0 {
					t.Errorf("%d were sent away, and none was in the way of another", since)
				}
				time.Sleep(time.Minute) // until the last is gone
			})
		})
	}
}
