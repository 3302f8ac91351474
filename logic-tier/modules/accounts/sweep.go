package accounts

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

// sweepBatch bounds the rows that one statement locks and deletes.
const sweepBatch = 1000

// sweep deletes expired sessions and attempts until ctx is done.
func (m *Module) sweep(ctx context.Context) error {
	return sweep.Loop{Name: "accounts: expired sessions and attempts", Interval: time.Minute, Timeout: 10 * time.Second, Log: m.deps.Log}.Run(ctx, m.sweepOnce)
}

func (m *Module) sweepOnce(ctx context.Context) error {
	err := sweep.Batches(sweepBatch, func(limit int64) (int64, error) { return m.store.removeSessions(ctx, limit) })
	if err != nil {
		return err
	}
	return sweep.Batches(sweepBatch, func(limit int64) (int64, error) { return m.store.removeAttempts(ctx, maxWindow, limit) })
}
