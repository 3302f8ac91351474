package postgres

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// Pauses before a lost listening connection is made again.
const (
	firstReconnect = 50 * time.Millisecond
	longReconnect  = 2 * time.Second
)

// listenerPing is how often a silent listening connection is tried: one that a
// firewall forgot looks just like one on which nothing happens.
const listenerPing = 15 * time.Second

// Listen calls hear for every notification on channel until ctx ends, in the
// order of their commits, one at a time. After the connection was lost and made
// again, and when it is first made, it calls hear with gap set: anything may
// have been missed, read the table again.
func Listen(ctx context.Context, o Options, channel string, log *slog.Logger, hear func(payload string, gap bool)) error {
	source, err := o.Source()
	if err != nil {
		return err
	}
	listener := pq.NewDialListener(newDialer(), source, firstReconnect, longReconnect, func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected:
			log.Warn("listening connection lost; making another", "channel", channel, "error", err)
		case pq.ListenerEventReconnected:
			log.Info("listening again", "channel", channel)
		}
	})
	defer listener.Close()
	// Listen waits until there is a connection; Close, after ctx, ends that.
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	if err := listener.Listen(channel); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return translate(err)
	}
	hear("", true)
	var pinging atomic.Bool
	ping := time.NewTicker(listenerPing)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n, open := <-listener.Notify:
			switch {
			case !open:
				return nil
			case n == nil: // the connection was made again
				hear("", true)
			default:
				hear(n.Extra, false)
			}
		case <-ping.C:
			// On a dead connection it hangs until TCP gives up, and then the
			// listener connects anew; one at a time is enough.
			if pinging.CompareAndSwap(false, true) {
				go func() {
					defer pinging.Store(false)
					_ = listener.Ping()
				}()
			}
		}
	}
}
