package live

import (
	"context"
	"errors"
	"time"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// follow keeps one stream to the logic tier open until ctx ends: all browsers
// of this process share it.
func (i *Inbox) follow(ctx context.Context) {
	pause := firstReopen
	for ctx.Err() == nil {
		opened := time.Now()
		err := i.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(opened) > longReopen {
			pause = firstReopen
		}
		i.log.Warn("live: stream to the logic tier ended; opening another", "error", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(between(pause/2, pause)):
		}
		pause = min(2*pause, longReopen)
	}
}

func (i *Inbox) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := i.client.StreamNotifications(ctx)
	if err != nil {
		return err
	}
	out := newOutbox(cancel)
	// Every browser is subscribed anew; when it is, it reads what it missed.
	i.mu.Lock()
	i.out = out
	for _, r := range i.readers {
		out.add(subscribe(r))
	}
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		i.out = nil
		i.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() {
		err := out.send(ctx, stream)
		cancel()
		sent <- err
	}()
	for {
		response, err := stream.Recv()
		if err != nil {
			cancel()
			return errors.Join(err, <-sent)
		}
		i.dispatch(response)
	}
}

// dispatch passes one response on to the browsers it is for.
func (i *Inbox) dispatch(response *notificationspb.StreamNotificationsResponse) {
	switch event := response.Event.(type) {
	case *notificationspb.StreamNotificationsResponse_Subscribed_:
		if r := i.reader(event.Subscribed.Subscription); r != nil {
			r.fallBehind()
		}
	case *notificationspb.StreamNotificationsResponse_Ended_:
		if r := i.reader(event.Ended.Subscription); r != nil {
			r.end(event.Ended.Reason)
		}
	case *notificationspb.StreamNotificationsResponse_Arrived_:
		f, err := notificationFrame(event.Arrived.Notification)
		if err != nil {
			i.log.Error("live: notification passed over", "error", err)
			return
		}
		i.delivery.add(i.push(f, event.Arrived.Subscriptions))
	case *notificationspb.StreamNotificationsResponse_Gap_:
		i.mu.RLock()
		defer i.mu.RUnlock()
		for _, r := range i.readers {
			r.fallBehind()
		}
	}
}

// push gives an event to browsers and returns whom it is to be written to.
func (i *Inbox) push(f *frame, subscriptions []uint64) []*stream {
	streams := make([]*stream, 0, len(subscriptions))
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, number := range subscriptions {
		if r := i.readers[number]; r != nil {
			if s := r.push(f); s != nil {
				streams = append(streams, s)
			}
		}
	}
	return streams
}

func subscribe(r *reader) *notificationspb.StreamNotificationsRequest {
	return &notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
		Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: r.number, SessionToken: r.token},
	}}
}

func unsubscribe(r *reader) *notificationspb.StreamNotificationsRequest {
	return &notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Unsubscribe_{
		Unsubscribe: &notificationspb.StreamNotificationsRequest_Unsubscribe{Subscription: r.number},
	}}
}
