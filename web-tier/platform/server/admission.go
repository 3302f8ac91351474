package server

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// room bounds the pages that are made at the same time, to as many as can be without
// each of them becoming slower. Who finds no place waits for one, a moment: those of a
// crowd that comes at once are served in the order in which they came. When somebody has
// always waited for standing long, more come than can be served: who came last is served
// first then, and nobody waits longer than it takes to see whether they will be. Whoever is
// served has not waited long; the other way round, everybody would be served after as
// long as the others are sent away (Maurer, "Fail at Scale", ACM Queue 13, 8: "controlled
// delay" and "adaptive LIFO").
//
// Forms have slots of their own, see admitForm: no page waits for a form.
type room struct {
	mu     sync.Mutex
	limit  limit
	lines  [classes]list.List // of waiter, the latest last
	empty  time.Time          // when nobody waited, the last time
	served int                // of those who waited, since then
}

// class orders the requests that wait: those with a session come before those without, and
// an address that has more than its share in progress comes last, whatever it sends. No
// slot is kept free for a class: one is free within a moment, and a limit that never sees
// all slots in use does not see an overload either.
type class int

const (
	personal class = iota
	public
	crowded
	classes
)

// waiter is somebody who waits. It has room for what is said to them once: whether there
// is a place.
type waiter chan bool

func newRoom(registry prometheus.Registerer) *room {
	r := &room{limit: newLimit()}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_room", Help: "How many pages are made at a time at most, as it was found out."},
			func() float64 { return float64(r.size()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_waiting", Help: "Requests that wait for a place."},
			func() float64 { return float64(r.waits()) }))
	return r
}

// enter takes a place, or waits for one; false when there is none in time, or who asked is
// gone. leave gives it back.
func (r *room) enter(ctx context.Context, c class) bool {
	r.mu.Lock()
	if r.limit.take() {
		r.rest() // otherwise who left would have given the place to who waits
		r.mu.Unlock()
		return true
	}
	wait := longestWait
	if r.stands() {
		wait = briefWait
	}
	line := &r.lines[c]
	own := make(waiter, 1)
	place := line.PushBack(own)
	if line.Len() > mostWaiting {
		line.Remove(line.Front()).(waiter) <- false
	}
	r.mu.Unlock()
	enough := time.NewTimer(wait/2 + rand.N(wait))
	defer enough.Stop()
	select {
	case is := <-own:
		return is
	case <-enough.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	line.Remove(place) // unless it has left
	r.mu.Unlock()
	select {
	case is := <-own: // in the meantime
		return is
	default:
		return false
	}
}

// leave gives a place back, to who waits, and says how long it was taken; 0 when that says
// nothing about how many may be inside.
func (r *room) leave(took time.Duration) {
	r.mu.Lock() // before the place is free: nobody who comes just now takes it from who waits
	defer r.mu.Unlock()
	r.limit.free()
	if took > 0 {
		r.limit.learn(took)
	}
	for c := range classes {
		for line := &r.lines[c]; line.Len() > 0; {
			if !r.limit.take() {
				return
			}
			first := line.Front()
			if r.stands() {
				first = line.Back()
			}
			line.Remove(first).(waiter) <- true
			r.served++
		}
	}
	r.rest()
}

// rest notes that nobody waits.
func (r *room) rest() { r.empty, r.served = time.Now(), 0 }

// stands says whether somebody has always waited for so long, though others were served,
// that more come than can be.
func (r *room) stands() bool { return time.Since(r.empty) >= standing && r.served >= standingServed }

func (r *room) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.limit.now()
}

func (r *room) waits() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range classes {
		n += r.lines[c].Len()
	}
	return n
}
