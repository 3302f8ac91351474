package operations

import "context"

// Sweep deletes expired operations now.
func Sweep(ctx context.Context, m *Module) error { return m.sweepOnce(ctx) }

// Subscribers returns the number of hub subscribers in this process.
func Subscribers(m *Module) (n int) {
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	for _, set := range m.hub.subscribers {
		n += len(set)
	}
	return n
}
