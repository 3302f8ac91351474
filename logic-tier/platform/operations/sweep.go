package operations

import (
	"context"
	"time"
)

const (
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	// sweepAtOnce bounds one statement, so that none locks or writes much.
	sweepAtOnce = 500
)

// sweep removes operations that ended long ago until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweeping); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("operations: those that ended long ago are not all removed; trying again", "error", err)
		}
		done()
	}
}

func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeOld(ctx, keep.Seconds(), sweepAtOnce); err != nil {
			return err
		}
	}
	return nil
}
