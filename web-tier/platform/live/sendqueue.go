package live

import (
	"context"
	"sync"
)

// sendQueue buffers subscription changes for the upstream. When it overflows it cancels
// the upstream; the feed then opens another and subscribes its current subscribers.
type sendQueue struct {
	wake   chan struct{} // capacity 1
	cancel context.CancelFunc

	mu      sync.Mutex
	changes []subscriptionChange
}

func newSendQueue(cancel context.CancelFunc) *sendQueue {
	return &sendQueue{wake: make(chan struct{}, 1), cancel: cancel}
}

func (q *sendQueue) add(c subscriptionChange) {
	q.mu.Lock()
	if len(q.changes) >= maxSendQueue {
		q.cancel()
	} else {
		q.changes = append(q.changes, c)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run sends the queued changes in order until ctx is done.
func (q *sendQueue) run(ctx context.Context, stream upstream) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
		}
		q.mu.Lock()
		changes := q.changes
		q.changes = nil
		q.mu.Unlock()
		for _, c := range changes {
			if err := stream.send(c); err != nil {
				return err
			}
		}
	}
}
