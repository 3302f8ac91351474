package accounts

import (
	"context"
	"time"
)

const (
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	// sweepAtOnce bounds one statement, so that none locks or writes much.
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
		if err := m.sweepOnce(sweeping); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("accounts: what has expired is not all removed; trying again", "error", err)
		}
		done()
	}
}

// sweepOnce removes all that has expired: as quickly as attempts come, they go.
func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeSessions(ctx, sweepAtOnce); err != nil {
			return err
		}
	}
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeAttempts(ctx, longestWindow, sweepAtOnce); err != nil {
			return err
		}
	}
	return nil
}
