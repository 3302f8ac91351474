package operations

import (
	"context"
	"sync"
	"time"
)

// waiter is the hub subscriber of one blocking wait.
type waiter struct {
	wake chan struct{} // capacity 1; signals that latest or gap changed

	mu     sync.Mutex
	latest *snapshot
	gap    bool // latest may be out of date
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{}, 1)} }

func (w *waiter) onChange(s *snapshot) {
	w.mu.Lock()
	w.latest, w.gap = s, false
	w.mu.Unlock()
	w.signal()
}

func (w *waiter) onGap() {
	w.mu.Lock()
	w.gap = true
	w.mu.Unlock()
	w.signal()
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns and clears what the hub has delivered.
func (w *waiter) take() (latest *snapshot, gap bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	latest, gap = w.latest, w.gap
	w.latest, w.gap = nil, false
	return latest, gap
}

// wait blocks until the operation satisfies cond or timeout has passed, and returns
// its latest snapshot. It subscribes before it reads, so that no change is missed.
func (m *Module) wait(ctx context.Context, id string, timeout time.Duration, cond func(*snapshot) bool) (*snapshot, error) {
	w := newWaiter()
	if err := m.hub.subscribe(id, w); err != nil {
		return nil, err
	}
	defer m.hub.unsubscribe(id, w)
	current, err := m.read(ctx, id)
	if err != nil || cond(current) {
		return current, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.hub.draining:
			return nil, errDraining
		case <-timer.C:
			return current, nil
		case <-w.wake:
		}
		latest, gap := w.take()
		if gap {
			if latest, err = m.read(ctx, id); err != nil {
				return nil, err
			}
		}
		if latest != nil {
			current = latest
		}
		if cond(current) {
			return current, nil
		}
	}
}
