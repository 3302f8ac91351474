// Package server is what every request passes through before it reaches its
// page: the trace it belongs to, one line in the log, metrics, the headers that
// bind browsers, and the refusals that no page should have to think of.
package server

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/proto/transport/fairshare"
	"techtalks.example/web-tier/platform/logicclient"
)

// Passage is what requests pass through.
type Passage struct {
	log     *slog.Logger
	secure  bool
	refuse  Refuse
	standIn StandIn
	caller  func(*http.Request) logicclient.Caller
	metrics *metrics
	room    *room
	// addresses counts the pages that wait in room, or are in it.
	addresses addresses
	// readers are the forms that are being read, forms those that are processed, and
	// streamed those with a file, from the first byte to the answer.
	readers, forms, streamed *logicclient.Slots
	origins                  *http.CrossOriginProtection
}

// Refuse answers a request with the page of a problem.
type Refuse func(w http.ResponseWriter, r *http.Request, p *logicclient.Problem)

// StandIn answers a request with the page as it was; false when there is none.
type StandIn func(w http.ResponseWriter, r *http.Request) bool

// New returns a Passage that counts in registry, refuses with refuse, and has pages for
// which there is no room stood in for with standIn. caller returns on whose behalf a
// request is made: nobody takes more than a share. secure says that browsers reach the
// site over TLS.
func New(log *slog.Logger, registry prometheus.Registerer, secure bool, caller func(*http.Request) logicclient.Caller, refuse Refuse, standIn StandIn) *Passage {
	p := &Passage{
		log: log, secure: secure, refuse: refuse, standIn: standIn, caller: caller, metrics: newMetrics(registry),
		origins: http.NewCrossOriginProtection(), room: newRoom(registry), addresses: addresses{pages: map[string]int{}},
		readers: logicclient.NewSlots(readerSlots), forms: logicclient.NewSlots(formSlots), streamed: logicclient.NewSlots(streamedSlots),
	}
	p.origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, crossOrigin)
	}))
	return p
}

// Handler puts everything that every request passes through around the site.
func (p *Passage) Handler(site http.Handler) http.Handler {
	return p.observe(p.headers(p.textOnly(p.origins.Handler(site))))
}

// Admit bounds how many requests are under way at the same time, see room. It is for
// pages and forms, not for streams.
func (p *Passage) Admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			p.admitForm(w, r, next)
			return
		}
		address, class := p.caller(r).Address, classOf(r)
		if p.addresses.add(address) {
			class = crowded
		}
		if !p.room.enter(r.Context(), class) {
			p.addresses.remove(address)
			p.full(w, r, fairshare.ErrFull)
			return
		}
		began, seen := time.Now(), recordOf(r.Context())
		leave := sync.OnceFunc(func() {
			p.addresses.remove(address)
			if seen != nil && seen.tells() {
				p.room.leave(time.Since(began))
			} else {
				p.room.leave(0)
			}
		})
		defer leave()
		if seen != nil {
			seen.begun = leave // the page is made: how fast it is read is not our work
		}
		next.ServeHTTP(w, r)
	})
}

// tells says whether the time that a page took says how many there is room for: what
// failed may have done so at once.
func (r *record) tells() bool {
	return r.status >= http.StatusOK && r.status < http.StatusBadRequest && r.cause == nil
}

// classOf is whose a request is, by what costs nothing to see: a session is the only
// cookie that the site gives.
func classOf(r *http.Request) class {
	if r.Header.Get("Cookie") != "" {
		return personal
	}
	return public
}

var (
	crossOrigin = &logicclient.Problem{Status: http.StatusForbidden, Title: "That came from another site",
		Message: "TechTalks takes forms from its own pages only. Open the page here and send the form again."}
	noText = &logicclient.Problem{Status: http.StatusBadRequest, Title: "That address is no text",
		Message: "The address holds bytes that are not valid text (UTF-8). Search for what you were looking for."}
	broken = &logicclient.Problem{Status: http.StatusInternalServerError, Title: "Something went wrong",
		Message: "It is our fault, not yours. Try again in a while."}
)
