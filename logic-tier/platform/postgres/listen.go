package postgres

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// Backoff before a lost listening connection is reopened.
const (
	minReconnectDelay = 50 * time.Millisecond
	maxReconnectDelay = 2 * time.Second
)

// pingInterval is how often an idle listening connection is pinged. A connection dropped by
// a firewall is otherwise indistinguishable from an idle one.
const pingInterval = 15 * time.Second

// Listen calls notify for every notification on channel until ctx is cancelled, one at a
// time and in commit order. After the first connection and after each reconnection it calls
// notify with gap set: notifications may have been missed, so the caller must read the
// table again.
func Listen(ctx context.Context, o Options, channel string, log *slog.Logger, notify func(payload string, gap bool)) error {
	source, err := o.Source()
	if err != nil {
		return err
	}
	listener := pq.NewDialListener(newDialer(), source, minReconnectDelay, maxReconnectDelay, func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected:
			log.Warn("listening connection lost; reconnecting", "channel", channel, "error", err)
		case pq.ListenerEventReconnected:
			log.Info("listening connection restored", "channel", channel)
		}
	})
	defer listener.Close()
	// listener.Listen blocks until it is connected; Close unblocks it.
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	if err := listener.Listen(channel); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return translate(err)
	}
	notify("", true)
	var pinging atomic.Bool
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n, open := <-listener.Notify:
			switch {
			case !open:
				return nil
			case n == nil: // reconnected
				notify("", true)
			default:
				notify(n.Extra, false)
			}
		case <-ping.C:
			// On a dead connection Ping blocks until TCP times out, and then the
			// listener reconnects. One ping at a time is enough.
			if pinging.CompareAndSwap(false, true) {
				go func() {
					defer pinging.Store(false)
					_ = listener.Ping()
				}()
			}
		}
	}
}
