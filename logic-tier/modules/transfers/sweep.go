package transfers

import (
	"context"
	"time"
)

const (
	// retention is how long rows are kept: the 7 days of a finished operation, plus a
	// day for it to run.
	retention     = 8 * 24 * time.Hour
	sweepInterval = time.Minute
	sweepTimeout  = 10 * time.Second
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 1000
)

// sweep periodically deletes expired rows until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepInterval):
		}
		sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweepCtx); err != nil && ctx.Err() == nil {
			m.deps.Log.Warn("transfers: deleting expired rows failed; retrying", "error", err)
		}
		cancel()
	}
}

// sweepOnce deletes all expired rows.
func (m *Module) sweepOnce(ctx context.Context) error {
	for _, statement := range []string{expireRejectionsStatement, expireEntriesStatement, expireImportsStatement, expireExportsStatement} {
		for deleted := int64(sweepBatch); deleted == sweepBatch; {
			var err error
			if deleted, err = m.store.deleteExpired(ctx, statement, retention, sweepBatch); err != nil {
				return err
			}
		}
	}
	return nil
}
