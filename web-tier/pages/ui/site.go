// Package ui is what the pages share: how a request becomes a page, the frame
// around it, and the parts it is made of.
package ui

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
	"techtalks.example/web-tier/platform/uploads"
)

// Site is what every page is given.
type Site struct {
	Tier    *logicclient.Tier
	Uploads *uploads.Uploads // files that come with a form
	Log     *slog.Logger
	Host    string // this tier's name on pages
	Secure  bool   // cookies are sent over TLS only
	Demo    bool   // the sign-in page offers the demo accounts

	stale stale
}

// Handler answers a request with a page, or with an error that becomes one.
type Handler func(v *Visit) error

// Page returns an http.Handler whose calls together have budget.
func (s *Site) Page(budget time.Duration, handle Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, done := s.visit(w, r, budget)
		defer done()
		if err := handle(v); err != nil {
			v.Fail(err)
		}
	})
}

func (s *Site) visit(w http.ResponseWriter, r *http.Request, budget time.Duration) (*Visit, context.CancelFunc) {
	v := &Visit{Site: s, Writer: w, Request: r, began: time.Now(), times: &logicclient.Times{}, session: s.Session(r), caller: s.Caller(r)}
	v.budget(budget)
	return v, func() { v.end() }
}

// Caller is on whose behalf a request asks.
func (s *Site) Caller(r *http.Request) logicclient.Caller {
	return logicclient.Caller{Session: s.Session(r), Address: server.ClientAddress(r)}
}

// Refuse answers a request with the page of a problem, without asking the logic
// tier anything.
func (s *Site) Refuse(w http.ResponseWriter, r *http.Request, p *logicclient.Problem) {
	v, done := s.visit(w, r, logicclient.PageBudget)
	defer done()
	v.session = ""
	v.Fail(p)
}
