package accounts

import (
	"context"
	"time"
)

const (
	sweepInterval = time.Minute
	sweepTimeout  = 10 * time.Second
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 1000
)

// sweep deletes expired sessions and attempts until ctx is done.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepInterval):
		}
		sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweepCtx); err != nil && ctx.Err() == nil {
			m.deps.Log.Warn("accounts: failed to sweep expired sessions and attempts; will retry", "error", err)
		}
		cancel()
	}
}

// sweepOnce deletes all expired rows, however many, so that it keeps up with any rate of
// attempts.
func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := int64(sweepBatch); removed == sweepBatch; {
		var err error
		if removed, err = m.store.removeSessions(ctx, sweepBatch); err != nil {
			return err
		}
	}
	for removed := int64(sweepBatch); removed == sweepBatch; {
		var err error
		if removed, err = m.store.removeAttempts(ctx, maxWindow, sweepBatch); err != nil {
			return err
		}
	}
	return nil
}
