package notifications

import (
	"context"
	"time"
)

const (
	// keep is how many items an inbox keeps; older ones are trimmed, and a
	// cursor before them is answered with a reset.
	keep = 1000
	// Inboxes are looked at in turn: few at a time, so that the sweep never
	// stands in a fan-out's way, and often enough that two million accounts
	// are looked at in a day.
	sweepEvery    = 10 * time.Second
	sweepAccounts = 250
)

// sweep trims inboxes in turn until ctx ends. Replicas sweep the same inboxes:
// trimming twice does nothing twice.
func (m *Module) sweep(ctx context.Context) error {
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepEvery)
		next, err := m.sweepAfter(sweeping, last)
		done()
		if err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("notifications: inboxes not trimmed; trying again", "error", err)
			continue
		}
		last = next
	}
}

// sweepAfter trims the inboxes that follow an account's, and returns after
// which to go on; 0 is from the start.
func (m *Module) sweepAfter(ctx context.Context, account int64) (int64, error) {
	accounts, err := m.store.nextAccounts(ctx, account, sweepAccounts)
	if err != nil || len(accounts) == 0 {
		return 0, err
	}
	if _, err := m.store.trim(ctx, accounts, keep); err != nil {
		return account, err
	}
	return accounts[len(accounts)-1], nil
}
