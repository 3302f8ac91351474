package accounts

import (
	"context"
	"time"
)

const (
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	// sweepAtOnce bounds one sweep; what is left is taken by the next.
	sweepAtOnce = 1000
)

// sweep removes expired sessions and old attempts until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.store.removeExpired(sweeping, longestWindow, sweepAtOnce); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("accounts: expired sessions not removed; trying again", "error", err)
		}
		done()
	}
}
