// Package server contains the middleware in front of every page: tracing, request logs,
// metrics, security headers, admission control, and the rejections that are the same for
// all pages.
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

// Middleware wraps the site's handlers.
type Middleware struct {
	log           *slog.Logger
	secure        bool
	handleProblem ProblemHandler
	serveStale    StaleHandler
	caller        func(*http.Request) logicclient.Caller
	metrics       *metrics
	pages         *admission
	// addresses counts the pages that hold or wait for a slot, by client address.
	addresses addresses
	// readers limits the forms that are being read, forms those that are processed, and
	// streamed those with a file, from the first byte to the response.
	readers, forms, streamed *logicclient.Slots
	origins                  *http.CrossOriginProtection
}

// ProblemHandler answers a request with the page of a problem.
type ProblemHandler func(w http.ResponseWriter, r *http.Request, p *logicclient.Problem)

// StaleHandler answers a request with an earlier version of the page. It reports false, and
// writes nothing, when it has none.
type StaleHandler func(w http.ResponseWriter, r *http.Request) bool

// New returns a Middleware that registers its metrics with registry, and answers rejected
// requests with handleProblem and shed page requests with serveStale. caller returns on
// whose behalf a request is made: no caller gets more than its share. secure reports
// whether browsers reach the site over TLS.
func New(log *slog.Logger, registry prometheus.Registerer, secure bool, caller func(*http.Request) logicclient.Caller, handleProblem ProblemHandler, serveStale StaleHandler) *Middleware {
	m := &Middleware{
		log: log, secure: secure, handleProblem: handleProblem, serveStale: serveStale, caller: caller, metrics: newMetrics(registry),
		origins: http.NewCrossOriginProtection(), pages: newAdmission(registry), addresses: addresses{pages: map[string]int{}},
		readers: logicclient.NewSlots(readerSlots), forms: logicclient.NewSlots(formSlots), streamed: logicclient.NewSlots(streamedSlots),
	}
	m.origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handleProblem(w, r, crossOrigin)
	}))
	return m
}

// Handler wraps the whole site.
func (m *Middleware) Handler(site http.Handler) http.Handler {
	return m.observe(m.securityHeaders(m.requireUTF8(m.origins.Handler(site))))
}

// Admit limits how many requests are in flight, see admission. It is for pages and forms,
// not for streams.
func (m *Middleware) Admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			m.admitForm(w, r, next)
			return
		}
		address, priority := m.caller(r).Address, priorityOf(r)
		if m.addresses.add(address) {
			priority = overShare
		}
		if !m.pages.acquire(r.Context(), priority) {
			m.addresses.remove(address)
			m.shed(w, r, fairshare.ErrFull)
			return
		}
		start, rec := time.Now(), recorderFrom(r.Context())
		release := sync.OnceFunc(func() {
			m.addresses.remove(address)
			if rec != nil && rec.succeeded() {
				m.pages.release(time.Since(start))
			} else {
				m.pages.release(0) // a failure can be immediate: its latency is no measure
			}
		})
		defer release()
		if rec != nil {
			rec.onHeader = release // the page is rendered: sending it takes no slot
		}
		next.ServeHTTP(w, r)
	})
}

// priorityOf returns the priority of a request, by what costs nothing to check: the session
// is the only cookie that the site sets.
func priorityOf(r *http.Request) priority {
	if r.Header.Get("Cookie") != "" {
		return signedIn
	}
	return anonymous
}

var (
	crossOrigin = &logicclient.Problem{Status: http.StatusForbidden, Title: "That came from another site",
		Message: "TechTalks accepts forms from its own pages only. Open the page here and send the form again."}
	notUTF8 = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Invalid address",
		Message: "The address contains bytes that are not valid text (UTF-8). Search for what you were looking for."}
	internalError = &logicclient.Problem{Status: http.StatusInternalServerError, Title: "Something went wrong",
		Message: "This is our fault, not yours. Try again in a few minutes."}
)
