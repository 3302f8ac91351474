package live

import (
	"context"
	"sync"
)

// outbox is what is to be sent upstream. Over its bound it gives the upstream
// up: another is opened, and subscribes whoever is there by then.
type outbox struct {
	wake   chan struct{}
	giveUp context.CancelFunc

	mu     sync.Mutex
	queued []change
}

func newOutbox(giveUp context.CancelFunc) *outbox {
	return &outbox{wake: make(chan struct{}, 1), giveUp: giveUp}
}

func (o *outbox) add(c change) {
	o.mu.Lock()
	if len(o.queued) >= maxOutbox {
		o.giveUp()
	} else {
		o.queued = append(o.queued, c)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// send sends what is added, in order, until ctx ends.
func (o *outbox) send(ctx context.Context, stream upstream) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		}
		o.mu.Lock()
		all := o.queued
		o.queued = nil
		o.mu.Unlock()
		for _, c := range all {
			if err := stream.send(c); err != nil {
				return err
			}
		}
	}
}
