package operations

import "context"

// Sweep removes what ended long ago at once.
func Sweep(ctx context.Context, m *Module) error { return m.sweepOnce(ctx) }

// Followers is how many follow operations in this process.
func Followers(m *Module) (n int) {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	for _, all := range m.live.followers {
		n += len(all)
	}
	return n
}
