package rabbitqueue

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue/notify"
)

const (
	// window bounds the unconfirmed messages: some tenths of a second's work, and many
	// times what RabbitMQ receives until it confirms a message.
	window = 2000
	// batchSize is how many rows are read at once: 16 MB with bodies of the maximum
	// size.
	batchSize = 250
	// confirmTimeout bounds the wait for a confirm. It is well over the time that a
	// quorum queue takes to elect a leader.
	confirmTimeout = 30 * time.Second
	// unconfirmedPause postpones messages that were not confirmed in time, so that an
	// unavailable queue does not hold up the others.
	unconfirmedPause = 30 * time.Second
	// nackedPause postpones messages that RabbitMQ rejected because a queue is full.
	nackedPause = time.Second
	// scanInterval is how often all unconfirmed messages are checked for confirms that
	// arrived out of order. A long outbox is read from its beginning as often.
	scanInterval = 200 * time.Millisecond
	// drainTimeout bounds the wait for the last confirms when the relay stops.
	drainTimeout = 2 * time.Second
)

// shipper is one term of the relay: the lock, the connection, and the messages in
// flight.
type shipper struct {
	*Queue
	lock        *outboxLock
	connection  *connection
	channel     *amqp.Channel
	returns     chan amqp.Return
	closed      chan *amqp.Error     // of the channel
	exchanges   map[string]bool      // that RabbitMQ has
	unconfirmed []unconfirmedMessage // in the order of publishing
	shipped     []shipment           // confirmed, not yet deleted from the outbox
	cursor      int64                // id from which the outbox is read next
	rewoundAt   time.Time            // when cursor was last at the beginning
	unblockedAt time.Time            // when RabbitMQ last resumed accepting messages
}

// unconfirmedMessage is a message that is published and not confirmed yet.
type unconfirmedMessage struct {
	shipment
	publishedAt  time.Time
	confirmation *amqp.DeferredConfirmation
	returned     bool // unroutable
}

func compareShipments(a, b shipment) int {
	return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.queue, b.queue))
}

func (q *Queue) newShipper(ctx context.Context, lock *outboxLock, c *connection) (*shipper, error) {
	s := &shipper{Queue: q, lock: lock, connection: c}
	var err error
	if s.exchanges, err = q.restoreTopology(ctx, c); err != nil {
		return nil, err
	}
	if s.channel, err = c.channel(); err != nil {
		return nil, err
	}
	// Never blocks the library: a message is returned at most once, and at most window
	// messages are unconfirmed.
	s.returns = s.channel.NotifyReturn(make(chan amqp.Return, window))
	s.closed = s.channel.NotifyClose(make(chan *amqp.Error, 1))
	return s, c.within(callTimeout, func() error { return s.channel.Confirm(false) })
}

// run ships until ctx ends, or the lock or the connection is lost.
func (s *shipper) run(ctx context.Context) error {
	woken := s.notifier.Subscribe(notify.Outbox)
	poll, adopt, scan := time.NewTimer(0), time.NewTimer(0), time.NewTicker(scanInterval)
	defer poll.Stop()
	defer adopt.Stop()
	defer scan.Stop()
	for more := true; ctx.Err() == nil; {
		for more && s.hasCapacity() {
			wait, full, err := s.publishBatch(ctx)
			if err != nil {
				return err
			}
			more = full
			poll.Reset(wait)
			if err := s.processConfirms(ctx, false); err != nil {
				return err
			}
			if ctx.Err() != nil {
				break
			}
		}
		if len(s.unconfirmed) == 0 || len(s.shipped) >= batchSize {
			if err := s.deleteShipped(ctx); err != nil {
				return err
			}
		}
		scanAll := false
		select {
		case <-ctx.Done():
			return s.drain(context.WithoutCancel(ctx))
		case <-s.connection.done:
			return fmt.Errorf("connection lost: %w", s.connection.closeErr)
		case <-s.connection.blockedChanged:
			s.updateBlocked()
		case <-woken:
			more = true
		case <-poll.C:
			more = true
		case <-adopt.C:
			adopt.Reset(adoptInterval)
			s.adopt(ctx)
		case <-s.oldestSettled():
		case <-scan.C:
			if scanAll = len(s.unconfirmed) > 0; scanAll {
				if err := s.deleteShipped(ctx); err != nil {
					return err
				}
			}
		}
		if err := s.processConfirms(ctx, scanAll); err != nil {
			return err
		}
	}
	return s.drain(context.WithoutCancel(ctx))
}

// hasCapacity reports whether a batch can be published now.
func (s *shipper) hasCapacity() bool {
	return len(s.unconfirmed)+batchSize <= window && s.connection.blocked() == "" && !s.connection.IsClosed()
}

// oldestSettled returns a channel that is closed when the oldest unconfirmed message
// is settled, or nil if there is none.
func (s *shipper) oldestSettled() <-chan struct{} {
	if len(s.unconfirmed) == 0 {
		return nil
	}
	return s.unconfirmed[0].confirmation.Done()
}

// updateBlocked records and logs that RabbitMQ blocked or unblocked publishing.
func (s *shipper) updateBlocked() {
	if reason := s.connection.blocked(); reason != "" {
		err := fmt.Errorf("RabbitMQ blocks publishing until it has resources: %s", reason)
		if s.relayHealth.set(err) {
			s.log.Warn("queue: RabbitMQ blocks publishing; messages stay in the outbox", "reason", reason)
		}
		return
	}
	s.unblockedAt = time.Now()
	if s.relayHealth.set(nil) {
		s.log.Info("queue: RabbitMQ accepts messages again")
	}
}

// publishBatch reads due messages and publishes them. It returns the time until the
// next poll. full reports that the outbox may have more due messages.
func (s *shipper) publishBatch(ctx context.Context) (wait time.Duration, full bool, err error) {
	ids := make([]int64, 0, len(s.unconfirmed)+len(s.shipped))
	for _, m := range s.unconfirmed {
		ids = append(ids, m.id)
	}
	for _, m := range s.shipped {
		ids = append(ids, m.id)
	}
	// The beginning of a long outbox consists of rows that were just deleted, and
	// skipping them takes longer than all the rest. But urgent messages are there too,
	// so the relay reads from there only once per scanInterval.
	if time.Since(s.rewoundAt) > scanInterval {
		s.cursor, s.rewoundAt = math.MinInt64, time.Now()
	}
	readCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	rows, wait, err := s.lock.nextBatch(readCtx, s.shipped, ids, s.cursor, batchSize)
	cancel()
	if err != nil {
		return 0, false, fmt.Errorf("read the outbox: %w", err)
	}
	s.shipped = s.shipped[:0]
	if wait == 0 || wait > pollInterval {
		wait = pollInterval
	}
	if full = len(rows) == batchSize; full {
		s.cursor = rows[len(rows)-1].id
	} else {
		s.rewoundAt = time.Time{}
	}
	if slices.ContainsFunc(rows, s.hasUnknownExchange) {
		// Declared since the last restore, or not at all; publishing to an undeclared
		// exchange would close the channel.
		if s.exchanges, err = s.restoreTopology(ctx, s.connection); err != nil {
			return 0, false, err
		}
	}
	err = s.connection.writes.batch(func() error {
		for i := range rows {
			if s.connection.blocked() != "" {
				full, s.rewoundAt = true, time.Time{}
				break // the next batch reads the remaining rows again
			}
			if err := s.publish(ctx, &rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	s.maxUnconfirmed.Store(max(s.maxUnconfirmed.Load(), int64(len(s.unconfirmed))))
	return wait, full, nil
}

// hasUnknownExchange reports whether a row is for an exchange that RabbitMQ does not
// have.
func (s *shipper) hasUnknownExchange(r row) bool { return r.queue == "" && !s.exchanges[r.exchange] }

// publish publishes a row. A message that AMQP cannot carry becomes a dead letter.
func (s *shipper) publish(ctx context.Context, r *row) error {
	exchange, key, p, err := r.encode()
	if err != nil {
		return s.deadLetter(ctx, []shipment{r.shipment}, err.Error())
	}
	if s.hasUnknownExchange(*r) {
		return s.deadLetter(ctx, []shipment{r.shipment}, fmt.Sprintf("exchange %q is not declared", exchange))
	}
	confirmation, err := s.channel.PublishWithDeferredConfirm(exchange, key, true, false, p)
	if err != nil {
		return fmt.Errorf("publish to RabbitMQ: %w", err)
	}
	s.unconfirmed = append(s.unconfirmed, unconfirmedMessage{shipment: r.shipment, publishedAt: time.Now(), confirmation: confirmation})
	return nil
}

func (s *shipper) postpone(ctx context.Context, rows []shipment, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	return s.lock.postpone(ctx, rows, pause)
}

// deleteShipped deletes the confirmed messages from the outbox.
func (s *shipper) deleteShipped(ctx context.Context) error {
	if len(s.shipped) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	if err := s.lock.delete(ctx, s.shipped); err != nil {
		return fmt.Errorf("delete shipped messages from the outbox: %w", err)
	}
	s.shipped = s.shipped[:0]
	return nil
}

// deadLetter moves rows to the dead letters. An empty cause means that no queue
// received the message.
func (s *shipper) deadLetter(ctx context.Context, rows []shipment, cause string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	letters, err := s.lock.deadLetter(ctx, rows, cause)
	if err != nil {
		return fmt.Errorf("move messages from the outbox to the dead letters: %w", err)
	}
	for _, l := range letters {
		if l.queue == "" && cause == "" {
			s.log.Error("queue: no binding matches; the message is among the dead letters", "message", l.id, "exchange", l.exchange, "routing_key", l.routingKey, "type", l.messageType)
			continue
		}
		s.log.Error("queue: message goes to the dead letters", "queue", l.queue, "message", l.id, "exchange", l.exchange, "type", l.messageType, "error", l.cause)
	}
	return nil
}

// drain waits up to drainTimeout for the last confirms, and deletes the confirmed
// messages, so that the next relay does not ship them again.
func (s *shipper) drain(ctx context.Context) error {
	timeout := time.After(drainTimeout)
	for waiting := true; waiting && len(s.unconfirmed) > 0; {
		select {
		case <-timeout:
			waiting = false
		case <-s.connection.done:
			waiting = false
		case <-s.oldestSettled():
		}
		if err := s.processConfirms(ctx, true); err != nil {
			break
		}
	}
	return s.deleteShipped(ctx)
}
