package talks

import (
	"context"
	"time"
)

const (
	// requestsKept is how long a form that was sent is remembered: longer than
	// any browser tries again.
	requestsKept = 24 * time.Hour
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	sweepAtOnce  = 1000
)

// sweep forgets old requests until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.store.removeRequests(sweeping, requestsKept, sweepAtOnce); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("talks: old requests not removed; trying again", "error", err)
		}
		done()
	}
}
