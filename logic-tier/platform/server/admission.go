package server

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/proto/transport"
)

// class is the priority of a call under overload. Lower values are shed later.
type class int

const (
	// change covers writes, and calls from the operator and from other modules. A
	// rejected one would be retried, or would leave work half done.
	change class = iota
	// personal covers reads with a session token. The token is not verified before
	// admission, since verification is itself work.
	personal
	// public covers reads without a session token.
	public
)

var classNames = [...]string{change: "change", personal: "personal", public: "public"}

// reservedShare is how many slots beyond the limit a class can use, as a fraction of the
// limit. Reserved slots are not part of the limiter: a limiter that never runs full
// takes every load for light, and would raise the limit for as long as public reads
// arrive.
var reservedShare = [...]float64{change: 1. / 3, personal: .2, public: 0}

// busyShare is the fraction of the limit in flight at which background work pauses.
const busyShare = 2. / 3

// admission limits concurrent calls. The limit is adaptive: it falls when more
// concurrency only makes each call slower.
type admission struct {
	limiter  adaptivelimiter.AdaptiveLimiter[any]
	reserved atomic.Int64 // calls in flight in reserved slots
	rejected *prometheus.CounterVec
}

// slot is held by a call in flight.
type slot struct {
	admission *admission
	permit    adaptivelimiter.Permit // nil for a reserved slot
}

func newAdmission(minLimit, maxLimit uint, registry prometheus.Registerer) *admission {
	a := &admission{
		limiter: adaptivelimiter.NewBuilder[any]().
			WithLimits(minLimit, maxLimit, minLimit).
			WithRecentWindow(limitWindow, 10*limitWindow, limitSamples).
			Build(),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "server_refused_total", Help: "Calls rejected by admission control, by class.",
		}, []string{"class"}),
	}
	registry.MustRegister(a.rejected,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_room", Help: "Current adaptive limit of concurrent calls."},
			func() float64 { return float64(a.limiter.Limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "server_under_way", Help: "Calls in flight."},
			func() float64 { return float64(a.inFlight()) }))
	return a
}

func (a *admission) inFlight() int { return a.limiter.Inflight() + int(a.reserved.Load()) }

// busy reports whether the calls in flight reach busyShare of the limit.
func (a *admission) busy() bool {
	return float64(a.inFlight()) >= busyShare*float64(a.limiter.Limit())
}

// acquire acquires a slot without waiting. If none is free for class c, it returns
// errBusy with a retry delay.
func (a *admission) acquire(c class) (slot, error) {
	if permit, ok := a.limiter.TryAcquirePermit(); ok {
		return slot{a, permit}, nil
	}
	if float64(a.reserved.Add(1)) <= reservedShare[c]*float64(a.limiter.Limit()) {
		return slot{admission: a}, nil
	}
	a.reserved.Add(-1)
	a.rejected.WithLabelValues(classNames[c]).Inc()
	// Jitter keeps rejected clients from retrying in step.
	return slot{}, errBusy.RetryIn(busyRetryDelay + rand.N(2*busyRetryDelay))
}

// release frees the slot. Only successful calls feed the limiter: the duration of a
// failed call does not tell how many calls can run concurrently.
func (s slot) release(succeeded bool) {
	switch {
	case s.permit == nil:
		s.admission.reserved.Add(-1)
	case succeeded:
		s.permit.Record()
	default:
		s.permit.Drop()
	}
}

// Busy reports whether calls in flight need most of the capacity, so that background
// work should pause.
func (s *Server) Busy() bool { return s.admission.busy() }

// classOf returns the class of a call from what is known before authentication.
func (s *Server) classOf(program, method string, hasSession bool) class {
	switch {
	case program == transport.LogicTier || program == transport.Operator || !s.rules[method].reads:
		return change
	case hasSession:
		return personal
	}
	return public
}

var errBusy = apperror.New(apperror.Exhausted, "SERVER_BUSY", "server busy: too many calls in flight; try again in a moment")
