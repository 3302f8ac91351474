package notifications

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

const (
	// maxItems is the number of items that an inbox keeps. The sweep trims older ones; a
	// cursor before them gets a reset.
	maxItems = 1000
	// The sweep visits inboxes in turn: few at a time, so that it does not delay
	// fan-outs, but enough to visit two million accounts a day.
	sweepInterval = 10 * time.Second
	sweepBatch    = 250
)

// sweep trims inboxes in turn until ctx is done. All replicas sweep the same inboxes:
// trimming is idempotent.
func (m *Module) sweep(ctx context.Context) error {
	last := int64(0)
	loop := sweep.Loop{Name: "notifications: inboxes", Interval: sweepInterval, Timeout: sweepInterval, Log: m.deps.Log}
	return loop.Run(ctx, func(ctx context.Context) error {
		next, err := m.sweepAfter(ctx, last)
		if err == nil {
			last = next
		}
		return err
	})
}

// sweepAfter trims the next inboxes after an account's and returns the account to
// continue from; 0 starts over.
func (m *Module) sweepAfter(ctx context.Context, account int64) (int64, error) {
	accounts, err := m.store.nextAccounts(ctx, account, sweepBatch)
	if err != nil || len(accounts) == 0 {
		return 0, err
	}
	if _, err := m.store.trim(ctx, accounts, maxItems); err != nil {
		return account, err
	}
	return accounts[len(accounts)-1], nil
}
