// Package server is what every request passes through before it reaches its
// page: the trace it belongs to, one line in the log, metrics, the headers that
// bind browsers, and the refusals that no page should have to think of.
package server

import (
	"log/slog"
	"net/http"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/web-tier/logic"
)

// Passage is what requests pass through.
type Passage struct {
	log     *slog.Logger
	secure  bool
	refuse  Refuse
	metrics *metrics
	room    adaptivelimiter.AdaptiveLimiter[any]
	origins *http.CrossOriginProtection
}

// Refuse answers a request with the page of a problem.
type Refuse func(w http.ResponseWriter, r *http.Request, p *logic.Problem)

// New returns a Passage that counts in registry and refuses with refuse. secure
// says that browsers reach the site over TLS.
func New(log *slog.Logger, registry prometheus.Registerer, secure bool, refuse Refuse) *Passage {
	p := &Passage{
		log: log, secure: secure, refuse: refuse, metrics: newMetrics(registry),
		origins: http.NewCrossOriginProtection(),
		room: adaptivelimiter.NewBuilder[any]().WithLimits(leastUnderWay, mostUnderWay, leastUnderWay).
			WithRecentWindow(limitWindow, 10*limitWindow, limitSamples).Build(),
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_room", Help: "How many pages are made at a time at most, as it was found out."},
		func() float64 { return float64(p.room.Limit()) }))
	p.origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, crossOrigin)
	}))
	return p
}

// Handler puts everything that every request passes through around the site.
func (p *Passage) Handler(site http.Handler) http.Handler {
	return p.observe(p.headers(p.textOnly(p.origins.Handler(site))))
}

// Admit bounds how many requests are under way at the same time, to as many as can
// be without each of them becoming slower. It is for pages, not for streams. What
// anybody reads has a part of the room only; the rest is for people who sent a
// session, and for forms.
func (p *Passage) Admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !personal(r) && float64(p.room.Inflight()) >= publicShare*float64(p.room.Limit()) {
			p.full(w, r)
			return
		}
		permit, ok := p.room.TryAcquirePermit()
		if !ok {
			p.full(w, r)
			return
		}
		if r.Method == http.MethodGet {
			defer permit.Record()
		} else {
			defer permit.Drop() // a form may hash a password or wait for an upload: its time tells nothing
		}
		next.ServeHTTP(w, r)
	})
}

// personal says whether a request is somebody's own, by what costs nothing to see:
// a session is the only cookie that the site gives.
func personal(r *http.Request) bool {
	return r.Method != http.MethodGet || r.Header.Get("Cookie") != ""
}

var (
	crossOrigin = &logic.Problem{Status: http.StatusForbidden, Title: "That came from another site",
		Message: "TechTalks takes forms from its own pages only. Open the page here and send the form again."}
	noText = &logic.Problem{Status: http.StatusBadRequest, Title: "That address is no text",
		Message: "The address holds bytes that are not valid text (UTF-8). Search for what you were looking for."}
	broken = &logic.Problem{Status: http.StatusInternalServerError, Title: "Something went wrong",
		Message: "It is our fault, not yours. Try again in a while."}
)
