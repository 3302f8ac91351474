package operations

import (
	"context"
	"time"
)

const (
	sweepInterval = time.Minute
	sweepTimeout  = 10 * time.Second
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 500
)

// sweep periodically deletes expired operations until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepInterval):
		}
		sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweepCtx); err != nil && ctx.Err() == nil {
			m.deps.Log.Warn("operations: deleting expired operations failed; retrying", "error", err)
		}
		cancel()
	}
}

func (m *Module) sweepOnce(ctx context.Context) error {
	for deleted := int64(sweepBatch); deleted == sweepBatch; {
		var err error
		if deleted, err = m.store.deleteExpired(ctx, retention.Seconds(), sweepBatch); err != nil {
			return err
		}
	}
	return nil
}
