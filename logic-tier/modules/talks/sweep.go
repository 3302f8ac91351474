package talks

import (
	"context"
	"time"
)

const (
	// requestsKept is how long a form that was sent is remembered: longer than
	// any browser tries again.
	requestsKept = 24 * time.Hour
	// draftsKept is how long a talk that waited for its recording is remembered,
	// and a batch that an import brought: longer than the operation is.
	draftsKept   = 9 * 24 * time.Hour
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	// sweepAtOnce bounds one statement, so that none locks or writes much.
	sweepAtOnce = 1000
)

// sweep forgets old requests and drafts until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweeping); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("talks: old requests and drafts not all removed; trying again", "error", err)
		}
		done()
	}
}

// sweepOnce removes all that is old enough: as quickly as they come,
// they go.
func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeRequests(ctx, requestsKept, sweepAtOnce); err != nil {
			return err
		}
	}
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeBatches(ctx, draftsKept, sweepAtOnce); err != nil {
			return err
		}
	}
	for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
		var err error
		if removed, err = m.store.removeDrafts(ctx, draftsKept, sweepAtOnce); err != nil {
			return err
		}
	}
	return nil
}
