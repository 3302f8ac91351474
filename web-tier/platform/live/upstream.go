package live

import (
	"context"
	"errors"
	"time"
)

// follow keeps a stream to the logic tier open until ctx is done. All subscribers of
// this process share it.
func (f *Feed) follow(ctx context.Context) {
	delay := minReopenDelay
	for ctx.Err() == nil {
		opened := time.Now()
		err := f.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(opened) > maxReopenDelay {
			delay = minReopenDelay
		}
		f.log.Warn("live: stream to the logic tier failed; reopening", "error", err, "in", delay)
		select {
		case <-ctx.Done():
		case <-time.After(randomBetween(delay/2, delay)):
		}
		delay = min(2*delay, maxReopenDelay)
	}
}

func (f *Feed) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.source.open(ctx)
	if err != nil {
		return err
	}
	queue := newSendQueue(cancel)
	// All subscribers are subscribed again. Each replays what it missed once its
	// subscription is confirmed.
	f.mu.Lock()
	f.sendQueue = queue
	for _, sub := range f.subscribers {
		queue.add(subscribe(sub))
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.sendQueue = nil
		f.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() {
		err := queue.run(ctx, stream)
		cancel()
		sent <- err
	}()
	for {
		e, err := stream.receive()
		if err != nil {
			cancel()
			return errors.Join(err, <-sent)
		}
		f.dispatch(e)
	}
}

// dispatch forwards an event from the logic tier to its subscribers.
func (f *Feed) dispatch(e upstreamEvent) {
	switch {
	case e.subscribed != 0:
		if sub := f.subscriber(e.subscribed); sub != nil {
			sub.markBehind()
		}
	case e.ended != 0:
		if sub := f.subscriber(e.ended); sub != nil {
			sub.end(e.endReason)
		}
	case e.invalid != nil:
		f.log.Error("live: event skipped", "error", e.invalid)
	case e.frame != nil:
		f.delivery.enqueue(f.push(e.frame, e.recipients))
	case e.gap:
		f.mu.RLock()
		defer f.mu.RUnlock()
		for _, sub := range f.subscribers {
			sub.markBehind()
		}
	}
}

// push adds an event to its subscribers and returns the streams to enqueue for
// delivery.
func (f *Feed) push(event *frame, recipients []uint64) []*stream {
	streams := make([]*stream, 0, len(recipients))
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, id := range recipients {
		if sub := f.subscribers[id]; sub != nil {
			if s := sub.push(event); s != nil {
				streams = append(streams, s)
			}
		}
	}
	return streams
}

func subscribe(sub *subscriber) subscriptionChange {
	return subscriptionChange{id: sub.id, token: sub.token, key: sub.key}
}

func unsubscribe(sub *subscriber) subscriptionChange {
	return subscriptionChange{id: sub.id, unsubscribe: true}
}
