package live

import (
	"context"
	"errors"
	"time"
)

// follow keeps one stream to the logic tier open until ctx ends: all browsers
// of this process share it.
func (f *Feed) follow(ctx context.Context) {
	pause := firstReopen
	for ctx.Err() == nil {
		opened := time.Now()
		err := f.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(opened) > longReopen {
			pause = firstReopen
		}
		f.log.Warn("live: stream to the logic tier ended; opening another", "error", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(between(pause/2, pause)):
		}
		pause = min(2*pause, longReopen)
	}
}

func (f *Feed) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.source.open(ctx)
	if err != nil {
		return err
	}
	out := newOutbox(cancel)
	// Everybody is subscribed anew; when they are, they read what they missed.
	f.mu.Lock()
	f.out = out
	for _, r := range f.readers {
		out.add(subscribe(r))
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.out = nil
		f.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() {
		err := out.send(ctx, stream)
		cancel()
		sent <- err
	}()
	for {
		h, err := stream.receive()
		if err != nil {
			cancel()
			return errors.Join(err, <-sent)
		}
		f.dispatch(h)
	}
}

// dispatch passes on what happened to whom it is for.
func (f *Feed) dispatch(h happened) {
	switch {
	case h.subscribed != 0:
		if r := f.reader(h.subscribed); r != nil {
			r.fallBehind()
		}
	case h.ended != 0:
		if r := f.reader(h.ended); r != nil {
			r.end(h.reason)
		}
	case h.bad != nil:
		f.log.Error("live: event passed over", "error", h.bad)
	case h.news != nil:
		f.delivery.add(f.push(h.news, h.subscriptions))
	case h.gap:
		f.mu.RLock()
		defer f.mu.RUnlock()
		for _, r := range f.readers {
			r.fallBehind()
		}
	}
}

// push gives an event to browsers and returns whom it is to be written to.
func (f *Feed) push(news *frame, subscriptions []uint64) []*stream {
	streams := make([]*stream, 0, len(subscriptions))
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, number := range subscriptions {
		if r := f.readers[number]; r != nil {
			if s := r.push(news); s != nil {
				streams = append(streams, s)
			}
		}
	}
	return streams
}

func subscribe(r *reader) change { return change{number: r.number, token: r.token, key: r.key} }

func unsubscribe(r *reader) change { return change{number: r.number, end: true} }
