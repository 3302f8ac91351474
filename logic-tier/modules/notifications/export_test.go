package notifications

import "context"

// Sweep trims the first inboxes at once.
func (m *Module) Sweep(ctx context.Context) error {
	_, err := m.sweepAfter(ctx, 0)
	return err
}
