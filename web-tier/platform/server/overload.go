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

// overloadPage is sent to browsers whose request was shed. It costs next to nothing, since
// at three times the capacity most responses are this page, and it reloads itself.
var overloadPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">` +
	`<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="SECONDS"><title>Very busy just now · TechTalks</title>` +
	`<link rel="stylesheet" href="` + assets.Path("site.css") + `"></head><body><main class="wrap"><section class="problem"><p class="status">503</p>` +
	`<h1>Very busy just now</h1><p>TechTalks is getting more requests than it can serve. Nothing is lost.</p>` +
	`<p><a class="button" href="">Try again</a></p><p class="hint">This page reloads automatically in SECONDS s.</p></section></main></body></html>`

// shed answers a request that was not admitted: with a stale version of the page if there
// is one, otherwise with a randomized Retry-After, so that clients do not all come back at
// once. A form gets the full problem page: its input stays in the browser's history.
//
// err is the reason: fairshare.ErrShare if only the caller's share is in use, a
// logicclient.Problem to be shown as it is, or any other error if all slots are in use.
func (m *Middleware) shed(w http.ResponseWriter, r *http.Request, err error) {
	m.metrics.shed.Inc()
	var problem *logicclient.Problem
	if errors.As(err, &problem) {
		m.handleProblem(w, r, problem)
		return
	}
	retryAfter := busyRetry + rand.N(2*busyRetry)
	if errors.Is(err, fairshare.ErrShare) {
		m.handleProblem(w, r, &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many forms at once", RetryAfter: retryAfter,
			Message: "Your browser or your network is sending too many forms at the same time. Wait a moment, then send the form again."})
		return
	}
	if m.serveStale(w, r) {
		return
	}
	if r.Method != http.MethodGet || PrefersJSON(r) {
		m.handleProblem(w, r, &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: retryAfter,
			Message: "TechTalks is getting more requests than it can serve. Try again in a moment."})
		return
	}
	seconds := strconv.Itoa(int(retryAfter.Round(time.Second).Seconds()))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", seconds)
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.ReplaceAll(overloadPage, "SECONDS", seconds))) // fails if the browser has disconnected
}
