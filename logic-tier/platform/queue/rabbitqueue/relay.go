package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"techtalks.example/logic-tier/platform/queue/notify"
)

const (
	// lockEvery is how often a process asks whether it is to ship, on average: so
	// long the outbox stands still when the one that shipped has died.
	lockEvery = 3 * time.Second
	// shipEvery is how often the relay looks without being woken, for a message that
	// nobody rang for. What is delayed it knows to the moment.
	shipEvery = 2 * time.Second
	// adoptEvery is how often it looks for what another engine has left.
	adoptEvery = time.Minute
	// adoptBatch bounds what is moved in one statement.
	adoptBatch = 1000
)

// relay ships the outbox whenever no other process does, until ctx ends.
func (q *Queue) relay(ctx context.Context) error {
	for failed, wait := 0, time.Duration(0); notify.Sleep(ctx, wait); {
		shipped, err := q.relayOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait = lockEvery/2 + rand.N(lockEvery)
		if shipped {
			failed = 0
		}
		if err == nil {
			q.shippingState.set(nil) // what another process does is not ours to tell
			continue
		}
		// Others may try meanwhile: perhaps it is this process that has no way to
		// RabbitMQ.
		failed++
		wait = retryPause(failed)
		if q.shippingState.set(err) {
			q.log.Warn("queue: the outbox is not shipped; trying again", "error", err)
		}
	}
	return nil
}

// relayOnce ships the outbox until something is lost, when no other process does.
// It says whether it could begin.
func (q *Queue) relayOnce(ctx context.Context) (began bool, err error) {
	locking, done := context.WithTimeout(ctx, statementTimeout)
	h, err := tryHold(locking, q.db)
	done()
	if err != nil {
		return false, fmt.Errorf("the outbox: %w", err)
	}
	if h == nil {
		return false, nil
	}
	defer h.drop()
	c, err := q.address.dial(ctx, q.connectionName("ships"))
	if err != nil {
		return false, err
	}
	defer c.close()
	// Time for what is on its way, then even a write that RabbitMQ does not read
	// comes to an end.
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-c.ended:
		case <-time.After(farewell + closeTimeout):
			_ = c.socket.Close()
		}
	})
	defer stop()
	s, err := q.newShipping(ctx, h, c)
	if err != nil {
		return false, err
	}
	if q.shippingState.set(nil) {
		q.log.Info("queue: shipping the outbox to RabbitMQ", "broker", q.address.String())
	}
	err = s.run(ctx)
	// What RabbitMQ is known to have the next relay does not ship again.
	if c.IsClosed() {
		_ = s.settle(ctx, true) // says that again
	}
	if cleared := s.clear(ctx); err == nil {
		err = cleared
	}
	return true, err
}

// adopt moves what another engine has left to the outbox.
func (s *shipping) adopt(ctx context.Context) {
	total := 0
	for n := adoptBatch; n == adoptBatch; total += n {
		adopting, done := context.WithTimeout(ctx, statementTimeout)
		var err error
		n, err = s.hold.adopt(adopting, adoptBatch)
		done()
		if err != nil && ctx.Err() == nil {
			s.log.Warn("queue: messages of another engine are not in the outbox yet; trying again later", "error", err)
		}
	}
	if total > 0 {
		s.log.Info("queue: messages of another engine are in the outbox now", "messages", total)
		s.notifier.NotifyLocal(notify.Outbox)
	}
}

var errUnconfirmed = errors.New("RabbitMQ confirms messages no longer")
