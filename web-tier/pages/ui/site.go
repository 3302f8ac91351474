// Package ui holds what all pages share: request handling, the page layout, and common
// components.
package ui

import (
	"log/slog"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
	"techtalks.example/web-tier/platform/uploads"
)

// Site holds the dependencies of all pages.
type Site struct {
	Tier    *logicclient.Tier
	Uploads *uploads.Uploads // stores files submitted with a form
	Log     *slog.Logger
	Host    string // this host's name in page footers
	Secure  bool   // session cookies require TLS
	Demo    bool   // the sign-in page offers the demo accounts

	stale staleCache
}

// Handler responds to a request with a page. Site.Page renders an error page for a returned error.
type Handler func(v *PageContext) error

// Page returns an http.Handler that runs handle. The calls to the logic tier that handle makes
// share budget.
func (s *Site) Page(budget time.Duration, handle Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newContext(w, r, budget)
		defer v.close()
		if err := handle(v); err != nil {
			v.Fail(err)
		}
	})
}

// newContext returns the context of a request. The caller must call close when it is done.
func (s *Site) newContext(w http.ResponseWriter, r *http.Request, budget time.Duration) *PageContext {
	v := &PageContext{Site: s, Writer: w, Request: r, start: time.Now(), times: &logicclient.Times{}, session: s.Session(r), caller: s.Caller(r)}
	v.setBudget(budget)
	return v
}

// Caller returns the session and address that calls for r are made with.
func (s *Site) Caller(r *http.Request) logicclient.Caller {
	return logicclient.Caller{Session: s.Session(r), Address: server.ClientAddress(r)}
}

// Refuse responds with the error page of p without calling the logic tier.
func (s *Site) Refuse(w http.ResponseWriter, r *http.Request, p *logicclient.Problem) {
	v := s.newContext(w, r, logicclient.PageBudget)
	defer v.close()
	v.session = ""
	v.Fail(p)
}
