package server

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"techtalks.example/proto/transport/fairshare"
	"techtalks.example/web-tier/assets"
	"techtalks.example/web-tier/platform/logicclient"
)

// lightPage is what a browser gets for which there is no room: a page that costs
// next to nothing, since under three times the load most pages are this one, and that
// comes back by itself.
var lightPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">` +
	`<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="SECONDS"><title>Very busy just now · TechTalks</title>` +
	`<link rel="stylesheet" href="` + assets.Path("site.css") + `"></head><body><main class="wrap"><section class="problem"><p class="status">503</p>` +
	`<h1>Very busy just now</h1><p>More people are here than we can serve at once. Nothing is lost.</p>` +
	`<p><a class="button" href="">Try again</a></p><p class="hint">This page tries again by itself in SECONDS s.</p></section></main></body></html>`

// full answers a request for which there is no room: what anybody reads with the page as
// it was, when that is there, and else with when to come back. Not all come back at the
// same moment. Forms get the whole page of the problem: what was typed stays in the
// browser behind it.
// err is why: fairshare.ErrShare if only the caller has no room, a problem to be
// shown as it is, or else that nobody has.
func (p *Passage) full(w http.ResponseWriter, r *http.Request, err error) {
	p.metrics.refused.Inc()
	var problem *logicclient.Problem
	if errors.As(err, &problem) {
		p.refuse(w, r, problem)
		return
	}
	after := busyRetry + rand.N(2*busyRetry)
	if errors.Is(err, fairshare.ErrShare) {
		p.refuse(w, r, &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many forms at once", RetryAfter: after,
			Message: "Your browser or your network sends more forms at the same time than its share. Wait a moment, then send the form again."})
		return
	}
	if p.standIn(w, r) {
		return
	}
	if r.Method != http.MethodGet || PrefersJSON(r) {
		p.refuse(w, r, &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: after,
			Message: "More people are here than we can serve at once. Try again in a moment."})
		return
	}
	seconds := strconv.Itoa(int(after.Round(time.Second).Seconds()))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", seconds)
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.ReplaceAll(lightPage, "SECONDS", seconds))) // the browser may be gone
}
