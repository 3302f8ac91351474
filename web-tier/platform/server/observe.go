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

// record is what is known of a request when it is over.
type record struct {
	http.ResponseWriter
	status int
	bytes  int64
	cause  error
	begun  func() // called when the answer begins; nil: nothing is
}

func (r *record) WriteHeader(status int) {
	// 1xx come before the answer, not instead of it.
	if status >= 200 {
		r.begin(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *record) Write(bytes []byte) (int, error) {
	r.begin(http.StatusOK)
	n, err := r.ResponseWriter.Write(bytes)
	r.bytes += int64(n)
	return n, err
}

func (r *record) begin(status int) {
	if r.status > 0 {
		return
	}
	r.status = status
	if r.begun != nil {
		r.begun()
	}
}

// Unwrap lets http.ResponseController reach the connection: streams flush and
// move their deadlines.
func (r *record) Unwrap() http.ResponseWriter { return r.ResponseWriter }

type recordKey struct{}

// recordOf is what is known of a request; nil when nothing is kept of it.
func recordOf(ctx context.Context) *record {
	r, _ := ctx.Value(recordKey{}).(*record)
	return r
}

// Because notes why a request failed, for its line in the log.
func Because(ctx context.Context, err error) {
	if r := recordOf(ctx); r != nil {
		r.cause = err
	}
}

// observe gives a request its trace, and writes its line in the log when it is
// over. A panic becomes a page and part of that line; the connection stays.
func (p *Passage) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		trace, ok := transport.ParseTrace(r.Header.Get("Traceparent"))
		if ok {
			trace = trace.Child()
		} else {
			trace = transport.NewTrace()
		}
		seen := &record{ResponseWriter: w}
		ctx := context.WithValue(transport.WithTrace(r.Context(), trace), recordKey{}, seen)
		r = r.WithContext(ctx)
		p.metrics.underWay.Inc()
		defer func() {
			p.metrics.underWay.Dec()
			found := recover()
			if found != nil && found != http.ErrAbortHandler {
				seen.cause = fmt.Errorf("panic: %v\n%s", found, debug.Stack())
				if seen.status == 0 {
					p.refuse(seen, r, broken)
				}
			}
			p.metrics.done(r, seen.status, time.Since(began))
			p.line(r, seen, trace, time.Since(began))
			if found == http.ErrAbortHandler {
				panic(found)
			}
		}()
		next.ServeHTTP(seen, r)
	})
}

func (p *Passage) line(r *http.Request, seen *record, trace transport.Trace, took time.Duration) {
	level := slog.LevelInfo
	if seen.status == http.StatusServiceUnavailable && seen.cause == nil {
		// There was no room: a line for each would take what room there is.
		level = slog.LevelDebug
	} else if seen.status >= 500 || seen.cause != nil {
		level = slog.LevelWarn
	}
	if !p.log.Enabled(r.Context(), level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", seen.status),
		slog.Int64("bytes", seen.bytes), slog.Duration("took", took.Round(time.Microsecond)), slog.String("trace", trace.ID()),
	}
	if seen.cause != nil {
		attributes = append(attributes, slog.Any("error", seen.cause))
	}
	p.log.LogAttrs(r.Context(), level, "request", attributes...)
}
