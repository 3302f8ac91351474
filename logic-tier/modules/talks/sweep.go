package talks

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

const (
	// requestRetention is the time that request ids are kept: longer than any browser
	// retries.
	requestRetention = 24 * time.Hour
	// draftRetention is the time that drafts and import batches are kept: longer than
	// their operations.
	draftRetention = 9 * 24 * time.Hour
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 1000
)

// sweep deletes expired requests, batches and drafts until ctx is done.
func (m *Module) sweep(ctx context.Context) error {
	return sweep.Loop{Name: "talks: expired requests, batches and drafts", Interval: time.Minute, Timeout: 10 * time.Second, Log: m.deps.Log}.Run(ctx, m.sweepOnce)
}

func (m *Module) sweepOnce(ctx context.Context) error {
	for _, expired := range []struct {
		remove    func(ctx context.Context, age time.Duration, limit int64) (int64, error)
		retention time.Duration
	}{
		{m.store.removeRequests, requestRetention},
		{m.store.removeBatches, draftRetention},
		{m.store.removeDrafts, draftRetention},
	} {
		err := sweep.Batches(sweepBatch, func(limit int64) (int64, error) { return expired.remove(ctx, expired.retention, limit) })
		if err != nil {
			return err
		}
	}
	return nil
}
