package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"techtalks.example/proto/transport"
)

// recorder is a ResponseWriter that records the outcome of a request.
type recorder struct {
	http.ResponseWriter
	status   int // 0 until the response starts
	bytes    int64
	err      error
	onHeader func() // called when the response starts; may be nil
}

func (r *recorder) WriteHeader(status int) {
	// A 1xx status precedes the response; it does not replace it.
	if status >= 200 {
		r.start(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(bytes []byte) (int, error) {
	r.start(http.StatusOK)
	n, err := r.ResponseWriter.Write(bytes)
	r.bytes += int64(n)
	return n, err
}

func (r *recorder) start(status int) {
	if r.status > 0 {
		return
	}
	r.status = status
	if r.onHeader != nil {
		r.onHeader()
	}
}

// succeeded reports whether the response has started without an error.
func (r *recorder) succeeded() bool {
	return r.status >= http.StatusOK && r.status < http.StatusBadRequest && r.err == nil
}

// Unwrap lets http.ResponseController reach the connection: streams flush and
// extend their deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

type recorderKey struct{}

// recorderFrom returns the recorder of a request's context, or nil.
func recorderFrom(ctx context.Context) *recorder {
	r, _ := ctx.Value(recorderKey{}).(*recorder)
	return r
}

// RecordError adds the reason why a request failed to its log line.
func RecordError(ctx context.Context, err error) {
	if r := recorderFrom(ctx); r != nil {
		r.err = err
	}
}

// observe adds a trace to each request, and logs it when it has finished. A panic is
// answered with an error page and logged with the request; the connection stays open.
func (m *Middleware) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		trace, ok := transport.ParseTrace(r.Header.Get("Traceparent"))
		if ok {
			trace = trace.Child()
		} else {
			trace = transport.NewTrace()
		}
		rec := &recorder{ResponseWriter: w}
		ctx := context.WithValue(transport.WithTrace(r.Context(), trace), recorderKey{}, rec)
		r = r.WithContext(ctx)
		m.metrics.inFlight.Inc()
		defer func() {
			m.metrics.inFlight.Dec()
			panicked := recover()
			if panicked != nil && panicked != http.ErrAbortHandler {
				rec.err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
				if rec.status == 0 {
					m.handleProblem(rec, r, internalError)
				}
			}
			m.metrics.record(r, rec.status, time.Since(start))
			m.logRequest(r, rec, trace, time.Since(start))
			if panicked == http.ErrAbortHandler {
				panic(panicked)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

func (m *Middleware) logRequest(r *http.Request, rec *recorder, trace transport.Trace, latency time.Duration) {
	level := slog.LevelInfo
	if rec.status == http.StatusServiceUnavailable && rec.err == nil {
		// The request was shed: logging each one would add to the overload.
		level = slog.LevelDebug
	} else if rec.status >= 500 || rec.err != nil {
		level = slog.LevelWarn
	}
	if !m.log.Enabled(r.Context(), level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Int64("bytes", rec.bytes), slog.Duration("took", latency.Round(time.Microsecond)), slog.String("trace", trace.ID()),
	}
	if rec.err != nil {
		attributes = append(attributes, slog.Any("error", rec.err))
	}
	m.log.LogAttrs(r.Context(), level, "request", attributes...)
}
