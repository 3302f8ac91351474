package main

import (
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/proto/transport"
)

// policy is the Content-Security-Policy: nothing but our own files, no inline
// script or style, no frames; recordings may come from anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src https: http:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// protect sets the headers that every answer has.
func protect(secure bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// onlyText refuses addresses that are not valid UTF-8: they could not be sent
// on to the logic tier, and nothing has such a name.
func onlyText(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.QueryUnescape(r.URL.RawQuery)
		if err != nil || !utf8.ValidString(query) || !utf8.ValidString(r.URL.Path) {
			http.Error(w, "This address is not valid text (UTF-8). Check how it was written.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// observer writes a line and counts each request.
type observer struct {
	log      *slog.Logger
	requests *prometheus.HistogramVec
}

func newObserver(log *slog.Logger, registry prometheus.Registerer) *observer {
	o := &observer{log: log, requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "web_request_seconds",
		Help:    "Time to answer a request, or that a stream was open, by route and status class.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "status"})}
	registry.MustRegister(o.requests)
	return o
}

// recorder remembers the status of an answer. http.ResponseController finds the
// writer's other abilities through Unwrap.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

var classes = [...]string{"0", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (o *observer) observe(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		trace, ok := transport.ParseTrace(r.Header.Get("Traceparent"))
		if ok {
			trace = trace.Child()
		} else {
			trace = transport.NewTrace()
		}
		r = r.WithContext(transport.WithTrace(r.Context(), trace))
		recorded := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				o.log.Error("panic", "trace", trace.ID(), "panic", p, "stack", string(debug.Stack()))
				if recorded.status == 0 {
					http.Error(recorded, "Something went wrong. It is our fault, not yours; try again in a while.", http.StatusInternalServerError)
				}
			}
			// The route, not the path: as many lines of metrics as there are routes.
			_, route := mux.Handler(r)
			took := time.Since(began)
			o.requests.WithLabelValues(route, classes[recorded.status/100%len(classes)]).Observe(took.Seconds())
			o.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", recorded.status),
				slog.Duration("took", took), slog.String("trace", trace.ID()))
		}()
		next.ServeHTTP(recorded, r)
	})
}
