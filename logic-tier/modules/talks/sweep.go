package talks

import (
	"context"
	"time"
)

const (
	// requestRetention is the time that request ids are kept: longer than any browser
	// retries.
	requestRetention = 24 * time.Hour
	// draftRetention is the time that drafts and import batches are kept: longer than
	// their operations.
	draftRetention = 9 * 24 * time.Hour
	sweepInterval  = time.Minute
	sweepTimeout   = 10 * time.Second
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 1000
)

// sweep deletes expired requests, batches and drafts until ctx is done.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepInterval):
		}
		sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweepCtx); err != nil && ctx.Err() == nil {
			m.deps.Log.Warn("talks: failed to sweep expired requests, batches and drafts; will retry", "error", err)
		}
		cancel()
	}
}

// sweepOnce deletes all expired rows, however many, so that it keeps up with any rate of
// new ones.
func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := int64(sweepBatch); removed == sweepBatch; {
		var err error
		if removed, err = m.store.removeRequests(ctx, requestRetention, sweepBatch); err != nil {
			return err
		}
	}
	for removed := int64(sweepBatch); removed == sweepBatch; {
		var err error
		if removed, err = m.store.removeBatches(ctx, draftRetention, sweepBatch); err != nil {
			return err
		}
	}
	for removed := int64(sweepBatch); removed == sweepBatch; {
		var err error
		if removed, err = m.store.removeDrafts(ctx, draftRetention, sweepBatch); err != nil {
			return err
		}
	}
	return nil
}
