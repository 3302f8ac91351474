package transfers

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

const (
	// retention is how long rows are kept: the 7 days of a finished operation, plus a
	// day for it to run.
	retention = 8 * 24 * time.Hour
	// sweepBatch bounds the rows that one statement locks and deletes.
	sweepBatch = 1000
)

// sweep deletes expired rows until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	return sweep.Loop{Name: "transfers: expired imports and exports", Interval: time.Minute, Timeout: 10 * time.Second, Log: m.deps.Log}.Run(ctx, m.sweepOnce)
}

func (m *Module) sweepOnce(ctx context.Context) error {
	for _, statement := range []string{expireRejectionsStatement, expireEntriesStatement, expireImportsStatement, expireExportsStatement} {
		err := sweep.Batches(sweepBatch, func(limit int64) (int64, error) { return m.store.deleteExpired(ctx, statement, retention, limit) })
		if err != nil {
			return err
		}
	}
	return nil
}
