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
	// lockInterval is how often a process tries to become the relay, on average. It
	// bounds how long the outbox is not shipped after the relay died.
	lockInterval = 3 * time.Second
	// pollInterval is how often the relay polls the outbox, for messages whose
	// notification was lost. It wakes up for delayed messages exactly when they are
	// due.
	pollInterval = 2 * time.Second
	// adoptInterval is how often the relay looks for messages of the other engine.
	adoptInterval = time.Minute
	// adoptBatch bounds the messages adopted in one statement.
	adoptBatch = 1000
)

// relay ships the outbox whenever no other process does, until ctx ends.
func (q *Queue) relay(ctx context.Context) error {
	for failures, wait := 0, time.Duration(0); notify.Sleep(ctx, wait); {
		started, err := q.relayOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait = lockInterval/2 + rand.N(lockInterval)
		if started {
			failures = 0
		}
		if err == nil {
			q.relayHealth.set(nil) // each process reports its own relay only
			continue
		}
		// The lock is free during the pause: another process may be able to reach
		// RabbitMQ where this one is not.
		failures++
		wait = retryPause(failures)
		if q.relayHealth.set(err) {
			q.log.Warn("queue: cannot ship the outbox; retrying", "error", err)
		}
	}
	return nil
}

// relayOnce ships the outbox for one term: until it loses the lock or the
// connection. It returns at once if another process is the relay. started reports
// whether shipping started.
func (q *Queue) relayOnce(ctx context.Context) (started bool, err error) {
	lockCtx, cancel := context.WithTimeout(ctx, statementTimeout)
	lock, err := tryLockOutbox(lockCtx, q.db)
	cancel()
	if err != nil {
		return false, fmt.Errorf("lock the outbox: %w", err)
	}
	if lock == nil {
		return false, nil
	}
	defer lock.release()
	c, err := q.address.dial(ctx, q.connectionName("relay"))
	if err != nil {
		return false, err
	}
	defer c.close()
	// After the time to drain, unblock even a write that RabbitMQ does not read.
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-c.done:
		case <-time.After(drainTimeout + closeTimeout):
			_ = c.socket.Close()
		}
	})
	defer stop()
	s, err := q.newShipper(ctx, lock, c)
	if err != nil {
		return false, err
	}
	if q.relayHealth.set(nil) {
		q.log.Info("queue: shipping the outbox to RabbitMQ", "broker", q.address.String())
	}
	err = s.run(ctx)
	// Delete what RabbitMQ has confirmed, so that the next relay does not ship it
	// again.
	if c.IsClosed() {
		_ = s.processConfirms(ctx, true) // returns the error that run returned
	}
	if deleteErr := s.deleteShipped(ctx); err == nil {
		err = deleteErr
	}
	return true, err
}

// adopt moves the messages that the other engine left into the outbox.
func (s *shipper) adopt(ctx context.Context) {
	total := 0
	for n := adoptBatch; n == adoptBatch; total += n {
		adoptCtx, cancel := context.WithTimeout(ctx, statementTimeout)
		var err error
		n, err = s.lock.adopt(adoptCtx, adoptBatch)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.Warn("queue: cannot move the messages of another engine to the outbox; retrying later", "error", err)
		}
	}
	if total > 0 {
		s.log.Info("queue: moved the messages of another engine to the outbox", "messages", total)
		s.notifier.NotifyLocal(notify.Outbox)
	}
}

var errConfirmTimeout = errors.New("RabbitMQ does not confirm messages")
