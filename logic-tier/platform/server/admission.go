package server

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/logic-tier/platform/apperror"
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
)

var classes = [...]string{change: "change", personal: "personal", public: "public"}

// beyond is how many more calls than the limit a class may have under way, as a share of
// it: places that are kept for those that matter more. They are not a part of the room. A
// limiter that never sees its room full takes every load for a light one, and what is
// found out would rise for as long as strangers come.
var beyond = [...]float64{change: 1. / 3, personal: .2, public: 0}

// relaxed is how much of the room may be full for work in the background to go on.
const relaxed = 2. / 3

// room bounds the calls that are worked on at the same time. How many that may be is
// found out from how long they take: once more at a time only makes each of them
// slower, the limit falls.
type room struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]
	extra   atomic.Int64 // beyond the limit
	refused *prometheus.CounterVec
}

// place is where a call is worked on.
type place struct {
	room   *room
	permit adaptivelimiter.Permit // nil: beyond the limit
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
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_room", Help: "How many calls of strangers are worked on at a time at most, as it was found out."},
			func() float64 { return float64(r.limiter.Limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_under_way", Help: "Calls that are worked on now."},
			func() float64 { return float64(r.underWay()) }))
	return r
}

func (r *room) underWay() int { return r.limiter.Inflight() + int(r.extra.Load()) }

// pressed says whether the calls under way need all there is.
func (r *room) pressed() bool {
	return float64(r.underWay()) >= relaxed*float64(r.limiter.Limit())
}

// enter takes a place, or says when to try again.
func (r *room) enter(c class) (place, error) {
	if permit, ok := r.limiter.TryAcquirePermit(); ok {
		return place{r, permit}, nil
	}
	if float64(r.extra.Add(1)) <= beyond[c]*float64(r.limiter.Limit()) {
		return place{room: r}, nil
	}
	r.extra.Add(-1)
	r.refused.WithLabelValues(classes[c]).Inc()
	// Not all at the same moment.
	return place{}, errFull.RetryIn(retryWhenFull + rand.N(2*retryWhenFull))
}

// leave releases the slot. How long a failed call took says nothing about how many
// calls can run at a time.
func (p place) leave(telling bool) {
	switch {
	case p.permit == nil:
		p.room.extra.Add(-1)
	case telling:
		p.permit.Record()
	default:
		p.permit.Drop()
	}
}

// Pressed says whether the calls under way need all there is, so that work which
// nobody waits for should pause.
func (s *Server) Pressed() bool { return s.room.pressed() }

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

var errFull = apperror.New(apperror.Exhausted, "SERVER_BUSY", "the server has as many calls under way as it takes; try again in a moment")
