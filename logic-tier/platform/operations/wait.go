package operations

import (
	"context"
	"sync"
	"time"
)

// waiter waits for an operation to become something.
type waiter struct {
	wake chan struct{} // capacity 1: it says "look"

	mu     sync.Mutex
	latest *snapshot
	behind bool
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{}, 1)} }

func (w *waiter) changed(s *snapshot) {
	w.mu.Lock()
	w.latest, w.behind = s, false
	w.mu.Unlock()
	w.look()
}

func (w *waiter) missed() {
	w.mu.Lock()
	w.behind = true
	w.mu.Unlock()
	w.look()
}

func (w *waiter) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *waiter) take() (latest *snapshot, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	latest, behind = w.latest, w.behind
	w.latest, w.behind = nil, false
	return latest, behind
}

// wait returns the operation as soon as enough says so, or as it is when timeout
// has passed. It follows first and reads then: nothing falls between.
func (m *Module) wait(ctx context.Context, id string, timeout time.Duration, enough func(*snapshot) bool) (*snapshot, error) {
	w := newWaiter()
	if err := m.live.follow(id, w); err != nil {
		return nil, err
	}
	defer m.live.unfollow(id, w)
	is, err := m.read(ctx, id)
	if err != nil || enough(is) {
		return is, err
	}
	over := time.NewTimer(timeout)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.live.draining:
			return nil, errDraining
		case <-over.C:
			return is, nil
		case <-w.wake:
		}
		latest, behind := w.take()
		if behind {
			if latest, err = m.read(ctx, id); err != nil {
				return nil, err
			}
		}
		if latest != nil {
			is = latest
		}
		if enough(is) {
			return is, nil
		}
	}
}
