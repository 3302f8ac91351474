package server

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"
)

// room bounds the pages that are made at the same time, to as many as can be without
// each of them becoming slower. Who finds no place waits for one, a moment: those of a
// crowd that comes at once are served in the order in which they came. When somebody has
// waited for standing long, more come than can be served: who came last is served first
// then, and the others are sent away when they have waited for their moment. Whoever is
// served has not waited long; the other way round, everybody would be served after as
// long as the others are sent away (Maurer, "Fail at Scale", ACM Queue 13, 8: "adaptive
// LIFO").
type room struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]

	mu    sync.Mutex
	lines [classes]list.List // of waiter, the latest last
	empty time.Time          // when nobody waited, the last time
}

// class is whose a request is. Of those who wait, people who sent a session, and forms,
// come before what anybody reads. No place is kept free for them: one is in a moment, and
// a limiter that never sees the room full does not see an overload either.
type class int

const (
	personal class = iota
	public
	classes
)

// waiter is somebody who waits. It has room for what is said to them once: the permit, or
// nil when there are too many.
type waiter chan adaptivelimiter.Permit

func newRoom(registry prometheus.Registerer) *room {
	r := &room{limiter: adaptivelimiter.NewBuilder[any]().WithLimits(leastUnderWay, mostUnderWay, leastUnderWay).
		WithRecentWindow(limitWindow, 10*limitWindow, limitSamples).WithBaselineWindow(240).Build()}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_room", Help: "How many pages are made at a time at most, as it was found out."},
			func() float64 { return float64(r.limiter.Limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_waiting", Help: "Requests that wait for a place."},
			func() float64 { return float64(r.waits()) }))
	return r
}

// enter takes a place, or waits for one; nil when there is none in time, or who asked is
// gone. leave gives it back.
func (r *room) enter(ctx context.Context, c class) adaptivelimiter.Permit {
	r.mu.Lock()
	if permit, free := r.limiter.TryAcquirePermit(); free {
		r.empty = time.Now() // otherwise who left would have given the place to who waits
		r.mu.Unlock()
		return permit
	}
	line := &r.lines[c]
	own := make(waiter, 1)
	place := line.PushBack(own)
	if line.Len() > mostWaiting {
		line.Remove(line.Front()).(waiter) <- nil
	}
	r.mu.Unlock()
	enough := time.NewTimer(longestWait/2 + rand.N(longestWait))
	defer enough.Stop()
	select {
	case permit := <-own:
		return permit
	case <-enough.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	line.Remove(place) // unless it has left
	r.mu.Unlock()
	select {
	case permit := <-own: // in the meantime
		return permit
	default:
		return nil
	}
}

// leave gives a place back, to who waits. What took its time for reasons of its own,
// such as a password's hash, says nothing about how many may be inside.
func (r *room) leave(permit adaptivelimiter.Permit, telling bool) {
	r.mu.Lock() // before the place is free: nobody who comes just now takes it from who waits
	defer r.mu.Unlock()
	if telling {
		permit.Record()
	} else {
		permit.Drop()
	}
	for c := range classes {
		for line := &r.lines[c]; line.Len() > 0; {
			permit, free := r.limiter.TryAcquirePermit()
			if !free {
				return
			}
			first := line.Front()
			if time.Since(r.empty) >= standing {
				first = line.Back()
			}
			line.Remove(first).(waiter) <- permit
		}
	}
	r.empty = time.Now()
}

func (r *room) waits() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range classes {
		n += r.lines[c].Len()
	}
	return n
}
