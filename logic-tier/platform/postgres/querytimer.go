package postgres

import (
	"context"
	"sync/atomic"
	"time"
)

// QueryTimer sums the durations of a request's queries. Concurrent queries each count in
// full.
type QueryTimer struct{ nanoseconds atomic.Int64 }

// Duration returns the sum so far.
func (t *QueryTimer) Duration() time.Duration { return time.Duration(t.nanoseconds.Load()) }

type timerKey struct{}

// WithQueryTimer returns a context whose queries are timed by t.
func WithQueryTimer(ctx context.Context, t *QueryTimer) context.Context {
	return context.WithValue(ctx, timerKey{}, t)
}

// recordQuery adds the time since start to the context's timer.
func recordQuery(ctx context.Context, start time.Time) {
	if t, ok := ctx.Value(timerKey{}).(*QueryTimer); ok {
		t.nanoseconds.Add(int64(time.Since(start)))
	}
}

// InheritQueryTimer returns ctx with the timer of parent. Calls between modules need it,
// since their context does not inherit the caller's values.
func InheritQueryTimer(ctx, parent context.Context) context.Context {
	if t, ok := parent.Value(timerKey{}).(*QueryTimer); ok {
		return WithQueryTimer(ctx, t)
	}
	return ctx
}
