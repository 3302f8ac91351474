package operations

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

// sweepBatch bounds the rows that one statement locks and deletes.
const sweepBatch = 500

// sweep deletes expired operations until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	return sweep.Loop{Name: "operations: expired operations", Interval: time.Minute, Timeout: 10 * time.Second, Log: m.deps.Log}.Run(ctx, m.sweepOnce)
}

func (m *Module) sweepOnce(ctx context.Context) error {
	return sweep.Batches(sweepBatch, func(limit int64) (int64, error) { return m.store.deleteExpired(ctx, retention.Seconds(), limit) })
}
