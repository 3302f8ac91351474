package postgres

import (
	"context"
	"sync/atomic"
	"time"
)

// Spent counts the time that one request's queries took; those that ran side
// by side count each.
type Spent struct{ nanoseconds atomic.Int64 }

// Duration returns the time counted so far.
func (s *Spent) Duration() time.Duration { return time.Duration(s.nanoseconds.Load()) }

type spentKey struct{}

// CountInto returns a context whose queries count into s.
func CountInto(ctx context.Context, s *Spent) context.Context {
	return context.WithValue(ctx, spentKey{}, s)
}

func spend(ctx context.Context, since time.Time) {
	if s, ok := ctx.Value(spentKey{}).(*Spent); ok {
		s.nanoseconds.Add(int64(time.Since(since)))
	}
}

// CountAlso returns ctx counting where from counts: for a call between modules,
// whose context carries none of the caller's values.
func CountAlso(ctx, from context.Context) context.Context {
	if s, ok := from.Value(spentKey{}).(*Spent); ok {
		return CountInto(ctx, s)
	}
	return ctx
}
