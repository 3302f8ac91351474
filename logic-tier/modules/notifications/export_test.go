package notifications

import "context"

// Sweep runs one sweep step, from the first account.
func (m *Module) Sweep(ctx context.Context) error {
	_, err := m.sweepAfter(ctx, 0)
	return err
}
