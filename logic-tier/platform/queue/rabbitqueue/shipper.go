package rabbitqueue

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue/wake"
)

const (
	// window bounds the messages that are published and not yet confirmed: some
	// tenths of a second's work, many times what fills the time until a confirm.
	window = 2000
	// batch is how many rows are read at once. With bodies as big as may be they
	// take 16 MB.
	batch = 250
	// confirmTimeout is how long a confirm may stay out: long over a change of a
	// quorum queue's leader.
	confirmTimeout = 30 * time.Second
	// unconfirmedPause is how long messages wait that were not confirmed in time, so
	// that a queue that is in trouble does not hold up the others.
	unconfirmedPause = 30 * time.Second
	// refusedPause is how long messages wait that RabbitMQ had no room for.
	refusedPause = time.Second
	// scanEvery is how often confirms are looked for that overtook others, and the
	// outbox is read from its beginning while it is long.
	scanEvery = 200 * time.Millisecond
	// farewell is how long the last confirms are waited for.
	farewell = 2 * time.Second
)

// shipping is one term of a relay: a lock, a connection, and what is on its way.
type shipping struct {
	*Queue
	hold       *hold
	connection *connection
	channel    *amqp.Channel
	returns    chan amqp.Return
	closed     chan *amqp.Error
	exchanges  map[string]bool // that RabbitMQ has
	onWay      []onWay         // in the order of publishing
	shipped    []shipment      // confirmed, and still in the outbox
	from       int64           // where the outbox is read on
	began      time.Time       // when it was last read from its beginning
	freed      time.Time       // when RabbitMQ last took messages again
}

// onWay is a message that is published and not yet confirmed.
type onWay struct {
	shipment
	since        time.Time
	confirmation *amqp.DeferredConfirmation
	returned     bool
}

func compareShipments(a, b shipment) int {
	return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.queue, b.queue))
}

func (q *Queue) newShipping(ctx context.Context, h *hold, c *connection) (*shipping, error) {
	s := &shipping{Queue: q, hold: h, connection: c}
	var err error
	if s.exchanges, err = q.restore(ctx, c); err != nil {
		return nil, err
	}
	if s.channel, err = c.channel(); err != nil {
		return nil, err
	}
	// A message is returned once at most, and those of one window are waited for.
	s.returns = s.channel.NotifyReturn(make(chan amqp.Return, window))
	s.closed = s.channel.NotifyClose(make(chan *amqp.Error, 1))
	return s, c.within(callTimeout, func() error { return s.channel.Confirm(false) })
}

// run ships until ctx ends, or the lock or the connection is lost.
func (s *shipping) run(ctx context.Context) error {
	woken := s.bell.At(wake.Outbox)
	next, adopts, scan := time.NewTimer(0), time.NewTimer(0), time.NewTicker(scanEvery)
	defer next.Stop()
	defer adopts.Stop()
	defer scan.Stop()
	for more := true; ctx.Err() == nil; {
		for more && s.roomy() {
			wait, full, err := s.load(ctx)
			if err != nil {
				return err
			}
			more = full
			next.Reset(wait)
			if err := s.settle(ctx, false); err != nil {
				return err
			}
			if ctx.Err() != nil {
				break
			}
		}
		if len(s.onWay) == 0 || len(s.shipped) >= batch {
			if err := s.clear(ctx); err != nil {
				return err
			}
		}
		all := false
		select {
		case <-ctx.Done():
			return s.end(context.WithoutCancel(ctx))
		case <-s.connection.ended:
			return fmt.Errorf("connection lost: %w", s.connection.reason)
		case <-s.connection.blocking:
			s.tellBlocked()
		case <-woken:
			more = true
		case <-next.C:
			more = true
		case <-adopts.C:
			adopts.Reset(adoptEvery)
			s.adopt(ctx)
		case <-s.first():
		case <-scan.C:
			if all = len(s.onWay) > 0; all {
				if err := s.clear(ctx); err != nil {
					return err
				}
			}
		}
		if err := s.settle(ctx, all); err != nil {
			return err
		}
	}
	return s.end(context.WithoutCancel(ctx))
}

// roomy says whether a batch may be published now.
func (s *shipping) roomy() bool {
	return len(s.onWay)+batch <= window && s.connection.blocked() == "" && !s.connection.IsClosed()
}

// first is closed when the oldest message is settled; nil without one.
func (s *shipping) first() <-chan struct{} {
	if len(s.onWay) == 0 {
		return nil
	}
	return s.onWay[0].confirmation.Done()
}

// tellBlocked says that RabbitMQ takes no messages, or takes them again.
func (s *shipping) tellBlocked() {
	if why := s.connection.blocked(); why != "" {
		err := fmt.Errorf("RabbitMQ takes no messages until it has room: %s", why)
		if s.shippingState.set(err) {
			s.log.Warn("queue: RabbitMQ takes no messages; the outbox keeps them", "reason", why)
		}
		return
	}
	s.freed = time.Now()
	if s.shippingState.set(nil) {
		s.log.Info("queue: RabbitMQ takes messages again")
	}
}

// load reads what is due and publishes it. wait is until the next look, and full
// says that there may be more now.
func (s *shipping) load(ctx context.Context) (wait time.Duration, full bool, err error) {
	ids := make([]int64, 0, len(s.onWay)+len(s.shipped))
	for _, m := range s.onWay {
		ids = append(ids, m.id)
	}
	for _, m := range s.shipped {
		ids = append(ids, m.id)
	}
	// Its beginning is full of rows that were deleted a moment ago, and reading over
	// them takes longer than all the rest; but what is urgent is there, too.
	if time.Since(s.began) > scanEvery {
		s.from, s.began = math.MinInt64, time.Now()
	}
	reading, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	rows, wait, err := s.hold.ship(reading, s.shipped, ids, s.from, batch)
	done()
	if err != nil {
		return 0, false, fmt.Errorf("the outbox: %w", err)
	}
	s.shipped = s.shipped[:0]
	if wait == 0 || wait > shipEvery {
		wait = shipEvery
	}
	if full = len(rows) == batch; full {
		s.from = rows[len(rows)-1].id
	} else {
		s.began = time.Time{}
	}
	if slices.ContainsFunc(rows, s.isUnknown) {
		// Declared since; or not at all, which would end the channel.
		if s.exchanges, err = s.restore(ctx, s.connection); err != nil {
			return 0, false, err
		}
	}
	err = s.connection.writes.together(func() error {
		for i := range rows {
			if s.connection.blocked() != "" {
				full, s.began = true, time.Time{}
				break // the rest stays where it is, and is read again
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
	s.mostOnWay.Store(max(s.mostOnWay.Load(), int64(len(s.onWay))))
	return wait, full, nil
}

// isUnknown says whether a row is for an exchange that RabbitMQ does not have.
func (s *shipping) isUnknown(r row) bool { return r.queue == "" && !s.exchanges[r.exchange] }

// publish publishes a row. What AMQP cannot carry becomes a dead letter.
func (s *shipping) publish(ctx context.Context, r *row) error {
	exchange, key, p, err := r.publishing()
	if err != nil {
		return s.bury(ctx, []shipment{r.shipment}, err.Error())
	}
	if s.isUnknown(*r) {
		return s.bury(ctx, []shipment{r.shipment}, fmt.Sprintf("exchange %q is not declared", exchange))
	}
	confirmation, err := s.channel.PublishWithDeferredConfirm(exchange, key, true, false, p)
	if err != nil {
		return fmt.Errorf("publish to RabbitMQ: %w", err)
	}
	s.onWay = append(s.onWay, onWay{shipment: r.shipment, since: time.Now(), confirmation: confirmation})
	return nil
}

func (s *shipping) postpone(ctx context.Context, rows []shipment, length time.Duration) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer done()
	return s.hold.postpone(ctx, rows, length)
}

// clear deletes what was shipped.
func (s *shipping) clear(ctx context.Context) error {
	if len(s.shipped) == 0 {
		return nil
	}
	deleting, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer done()
	if err := s.hold.deleteShipped(deleting, s.shipped); err != nil {
		return fmt.Errorf("the outbox: %w", err)
	}
	s.shipped = s.shipped[:0]
	return nil
}

// bury makes rows dead letters: without a cause because no queue got them.
func (s *shipping) bury(ctx context.Context, rows []shipment, cause string) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer done()
	all, err := s.hold.bury(ctx, rows, cause)
	if err != nil {
		return fmt.Errorf("the outbox: %w", err)
	}
	for _, b := range all {
		if b.queue == "" && cause == "" {
			s.log.Error("queue: no binding matches; the message is among the dead letters", "message", b.id, "exchange", b.exchange, "routing_key", b.routingKey, "type", b.of)
			continue
		}
		s.log.Error("queue: message goes to the dead letters", "queue", b.queue, "message", b.id, "exchange", b.exchange, "type", b.of, "error", b.cause)
	}
	return nil
}

// end waits a little for the last confirms: what is deleted now is not shipped
// again by the next relay.
func (s *shipping) end(ctx context.Context) error {
	deadline := time.After(farewell)
	for waiting := true; waiting && len(s.onWay) > 0; {
		select {
		case <-deadline:
			waiting = false
		case <-s.connection.ended:
			waiting = false
		case <-s.first():
		}
		if err := s.settle(ctx, true); err != nil {
			break
		}
	}
	return s.clear(ctx)
}
