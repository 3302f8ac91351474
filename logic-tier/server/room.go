package server

import (
	"math/rand/v2"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/logic-tier/failure"
	"techtalks.example/proto/transport"
)

// class is what a call is worth when there is not room for all. Who is refused
// first is last here.
type class int

const (
	// change is what somebody changes, and what the operator and other modules ask:
	// refused, it would be done again, or leave something half done.
	change class = iota
	// personal is what somebody reads who sent a session. Whether it is valid is not
	// known yet: finding out is work.
	personal
	// public is what anybody reads.
	public
	// background is work that nobody waits for: the queues' consumers pause.
	background
)

var classes = [...]string{change: "change", personal: "personal", public: "public", background: "background"}

// shares is how much of the room a class may fill: what is left above it is kept
// for those that matter more.
var shares = [...]float64{change: 1, personal: .9, public: .75, background: .5}

// room bounds the calls that are worked on at the same time. How many that may be is
// found out from how long they take: once more at a time only makes each of them
// slower, the limit falls.
type room struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]
	refused *prometheus.CounterVec
}

func newRoom(least, most uint, registry prometheus.Registerer) *room {
	r := &room{
		limiter: adaptivelimiter.NewBuilder[any]().
			WithLimits(least, most, least).
			WithRecentWindow(limitWindow, 10*limitWindow, limitSamples).
			Build(),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "server_refused_total", Help: "Calls that there was no room for, by class.",
		}, []string{"class"}),
	}
	registry.MustRegister(r.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_room", Help: "How many calls are worked on at a time at most, as it was found out."},
			func() float64 { return float64(r.limiter.Limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_under_way", Help: "Calls that are worked on now."},
			func() float64 { return float64(r.limiter.Inflight()) }))
	return r
}

// has says whether a call of a class may begin now.
func (r *room) has(c class) bool {
	return float64(r.limiter.Inflight()) < shares[c]*float64(r.limiter.Limit())
}

// enter takes a place, or says when to try again.
func (r *room) enter(c class) (adaptivelimiter.Permit, error) {
	if r.has(c) {
		if permit, ok := r.limiter.TryAcquirePermit(); ok {
			return permit, nil
		}
	}
	r.refused.WithLabelValues(classes[c]).Inc()
	// Not all at the same moment.
	return nil, errFull.RetryIn(retryWhenFull + rand.N(2*retryWhenFull))
}

// leave gives the place back. What took its time for reasons of its own, such as a
// password's hash, says nothing about how many may be inside.
func leave(permit adaptivelimiter.Permit, telling bool) {
	if telling {
		permit.Record()
	} else {
		permit.Drop()
	}
}

// Pressed says whether the calls under way need all there is, so that work which
// nobody waits for should pause.
func (s *Server) Pressed() bool { return !s.room.has(background) }

// classOf is the class of a call, by what is known before any work is done for it.
func (s *Server) classOf(program, method string, hasSession bool) class {
	switch {
	case program == transport.LogicTier || program == transport.Operator || !s.rules[method].reads:
		return change
	case hasSession:
		return personal
	}
	return public
}

var errFull = failure.New(failure.Exhausted, "SERVER_BUSY", "the server has as many calls under way as it takes; try again in a moment")
