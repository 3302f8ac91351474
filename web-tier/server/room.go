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
// each of them becoming slower. Who finds no place waits for one, a moment: a few who
// come at once are all served, and under a load beyond what can be served those who are
// sent away have taken that moment to come back.
type room struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]

	mu    sync.Mutex
	lines [classes]line
}

// line is where those of a class wait. Those who are next are served in the order in
// which they came. They are few: whoever is served has not waited long. When more come
// than can be served, the rest wait for one of their places, and who came last gets it:
// the other way round, everybody would be served after as long as the others are sent
// away (Maurer, "Fail at Scale", ACM Queue 13, 8: "adaptive LIFO").
type line struct{ next, rest list.List }

// nextFactor is how many are next, for each place that there is.
const nextFactor = 2

// class is whose a request is. What anybody reads has a part of the room only; the rest
// is for people who sent a session, and for forms.
type class int

const (
	personal class = iota
	public
	classes
)

// shares is how much of the room a class may fill.
var shares = [classes]float64{personal: 1, public: .8}

// waiter is somebody who waits, and where. turn has room for what is said to them once:
// the permit, or nil when somebody else took their place.
type waiter struct {
	turn  chan adaptivelimiter.Permit
	in    *list.List
	place *list.Element
}

func (w *waiter) leave() { w.in.Remove(w.place) } // once; after that it does nothing

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
	if permit := r.take(c); permit != nil {
		r.mu.Unlock()
		return permit
	}
	own := &waiter{turn: make(chan adaptivelimiter.Permit, 1)}
	r.lines[c].add(own, r.places())
	r.mu.Unlock()
	enough := time.NewTimer(longestWait/2 + rand.N(longestWait))
	defer enough.Stop()
	select {
	case permit := <-own.turn:
		return permit
	case <-enough.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	own.leave()
	r.mu.Unlock()
	select {
	case permit := <-own.turn: // in the meantime
		return permit
	default:
		return nil
	}
}

// leave gives a place back, to who waits. What took its time for reasons of its own,
// such as a password's hash, says nothing about how many may be inside.
func (r *room) leave(permit adaptivelimiter.Permit, telling bool) {
	if telling {
		permit.Record()
	} else {
		permit.Drop()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range classes {
		l := &r.lines[c]
		for l.next.Len() > 0 {
			permit := r.take(c)
			if permit == nil {
				break
			}
			first := l.next.Front().Value.(*waiter)
			first.leave()
			first.turn <- permit
		}
		l.moveUp(r.places())
	}
}

// places is how many may be next.
func (r *room) places() int { return nextFactor * r.limiter.Limit() }

// add adds somebody at the end of who is next, or first of the rest.
func (l *line) add(w *waiter, places int) {
	if l.next.Len() < places {
		w.in, w.place = &l.next, l.next.PushBack(w)
		return
	}
	w.in, w.place = &l.rest, l.rest.PushFront(w)
	if l.rest.Len() > mostWaiting {
		last := l.rest.Back().Value.(*waiter)
		last.leave()
		last.turn <- nil
	}
}

// moveUp has the rest take the places of who is next that are free.
func (l *line) moveUp(places int) {
	for l.rest.Len() > 0 && l.next.Len() < places {
		w := l.rest.Front().Value.(*waiter)
		w.leave()
		l.add(w, places)
	}
}

// take takes a place, or returns nil. r.mu is held.
func (r *room) take(c class) adaptivelimiter.Permit {
	if float64(r.limiter.Inflight()) >= shares[c]*float64(r.limiter.Limit()) {
		return nil
	}
	permit, ok := r.limiter.TryAcquirePermit()
	if !ok {
		return nil
	}
	return permit
}

func (r *room) waits() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range classes {
		n += r.lines[c].next.Len() + r.lines[c].rest.Len()
	}
	return n
}
