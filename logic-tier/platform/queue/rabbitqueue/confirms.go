package rabbitqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// processConfirms records publisher confirms: of the oldest messages up to the
// first unconfirmed one, or of all messages if scanAll is set.
func (s *shipper) processConfirms(ctx context.Context, scanAll bool) error {
	n := 0
	for n < len(s.unconfirmed) && isSettled(s.unconfirmed[n].confirmation) {
		n++
	}
	pending := s.unconfirmed[n:]
	settled := slices.Clone(s.unconfirmed[:n])
	if scanAll {
		pending = slices.DeleteFunc(slices.Clone(pending), func(m unconfirmedMessage) bool {
			if !isSettled(m.confirmation) {
				return false
			}
			settled = append(settled, m)
			return true
		})
	}
	if s.connection.IsClosed() || s.channel.IsClosed() {
		// On a closed channel the library reports every unconfirmed message as nacked.
		settled = slices.DeleteFunc(settled, func(m unconfirmedMessage) bool { return !m.confirmation.Acked() })
		s.recordShipped(settled, nil)
		return fmt.Errorf("connection lost: %w", s.channelCloseErr())
	}
	s.unconfirmed = append(s.unconfirmed[:0], pending...)
	var nacked, unroutable []shipment
	s.recordShipped(settled, func(m unconfirmedMessage) {
		if m.returned {
			unroutable = append(unroutable, m.shipment)
		} else {
			nacked = append(nacked, m.shipment)
		}
	})
	if len(unroutable) > 0 {
		if err := s.deadLetter(ctx, unroutable, ""); err != nil {
			return err
		}
	}
	if len(nacked) > 0 {
		s.log.Warn("queue: RabbitMQ rejected messages because a queue is full; publishing them again", "messages", len(nacked))
		if err := s.postpone(ctx, nacked, nackedPause); err != nil {
			return err
		}
	}
	if !scanAll {
		return nil
	}
	return s.checkOverdue(ctx)
}

// channelCloseErr returns the reason for which the channel was closed.
func (s *shipper) channelCloseErr() error {
	select {
	case err := <-s.closed:
		if err != nil {
			return err
		}
	case <-time.After(closeTimeout):
	}
	return amqp.ErrClosed
}

// recordShipped adds the settled messages that RabbitMQ stored to s.shipped, and
// calls rejected for the others. RabbitMQ returns an unroutable message before it
// confirms it.
func (s *shipper) recordShipped(settled []unconfirmedMessage, rejected func(unconfirmedMessage)) {
	returned := map[string]bool{}
	for len(s.returns) > 0 {
		r := <-s.returns
		queueName := ""
		if r.Exchange == "" {
			queueName = r.RoutingKey
		}
		returned[r.MessageId+" "+queueName] = true
	}
	if len(returned) > 0 {
		mark := func(messages []unconfirmedMessage) {
			for i, m := range messages {
				if returned[strconv.FormatInt(m.id, 10)+" "+m.queue] {
					messages[i].returned = true
				}
			}
		}
		mark(settled)
		mark(s.unconfirmed)
	}
	for _, m := range settled {
		if m.confirmation.Acked() && !m.returned {
			s.shipped = append(s.shipped, m.shipment)
		} else if rejected != nil {
			rejected(m)
		}
	}
}

func isSettled(c *amqp.DeferredConfirmation) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

// checkOverdue returns an error, which ends the term of the relay, if confirms are
// overdue. It postpones the messages without a confirm, so that they do not hold up
// the others.
func (s *shipper) checkOverdue(ctx context.Context) error {
	if len(s.unconfirmed) == 0 || s.connection.blocked() != "" {
		return nil
	}
	var overdue []shipment
	for _, m := range s.unconfirmed {
		since := m.publishedAt
		if since.Before(s.unblockedAt) {
			since = s.unblockedAt
		}
		if time.Since(since) > confirmTimeout {
			overdue = append(overdue, m.shipment)
		}
	}
	if len(overdue) == 0 {
		return nil
	}
	if err := s.postpone(ctx, overdue, unconfirmedPause); err != nil {
		return err
	}
	return fmt.Errorf("%w: %d messages in %s", errConfirmTimeout, len(overdue), confirmTimeout)
}
