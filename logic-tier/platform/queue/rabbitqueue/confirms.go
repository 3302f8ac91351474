package rabbitqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// settle takes note of confirms: of the oldest without a gap, or of all.
func (s *shipping) settle(ctx context.Context, all bool) error {
	settled := 0
	for settled < len(s.onWay) && isDone(s.onWay[settled].confirmation) {
		settled++
	}
	rest := s.onWay[settled:]
	over := slices.Clone(s.onWay[:settled])
	if all {
		rest = slices.DeleteFunc(slices.Clone(rest), func(m onWay) bool {
			if !isDone(m.confirmation) {
				return false
			}
			over = append(over, m)
			return true
		})
	}
	if s.connection.IsClosed() || s.channel.IsClosed() {
		// Then the library calls everything refused that is not confirmed.
		over = slices.DeleteFunc(over, func(m onWay) bool { return !m.confirmation.Acked() })
		s.note(over, nil)
		return fmt.Errorf("connection lost: %w", s.why())
	}
	s.onWay = append(s.onWay[:0], rest...)
	var refused, unroutable []shipment
	s.note(over, func(m onWay) {
		if m.returned {
			unroutable = append(unroutable, m.shipment)
		} else {
			refused = append(refused, m.shipment)
		}
	})
	if len(unroutable) > 0 {
		if err := s.bury(ctx, unroutable, ""); err != nil {
			return err
		}
	}
	if len(refused) > 0 {
		s.log.Warn("queue: RabbitMQ had no room for messages; they are published again", "messages", len(refused))
		if err := s.postpone(ctx, refused, refusedPause); err != nil {
			return err
		}
	}
	return s.expire(ctx, all)
}

// why returns why the channel was lost.
func (s *shipping) why() error {
	select {
	case said := <-s.closed:
		if said != nil {
			return said
		}
	case <-time.After(closeTimeout):
	}
	return amqp.ErrClosed
}

// note sorts settled messages: those that RabbitMQ has are shipped, the others are
// told. A message is returned before it is confirmed.
func (s *shipping) note(over []onWay, other func(onWay)) {
	returned := map[string]bool{}
	for len(s.returns) > 0 {
		r := <-s.returns
		name := ""
		if r.Exchange == "" {
			name = r.RoutingKey
		}
		returned[r.MessageId+" "+name] = true
	}
	if len(returned) > 0 {
		mark := func(messages []onWay) {
			for i, m := range messages {
				if returned[strconv.FormatInt(m.id, 10)+" "+m.queue] {
					messages[i].returned = true
				}
			}
		}
		mark(over)
		mark(s.onWay)
	}
	for _, m := range over {
		if m.confirmation.Acked() && !m.returned {
			s.shipped = append(s.shipped, m.shipment)
		} else if other != nil {
			other(m)
		}
	}
}

func isDone(c *amqp.DeferredConfirmation) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

// expire gives up a channel on which a confirm stays out, and has the messages
// that wait for one wait longer than others.
func (s *shipping) expire(ctx context.Context, all bool) error {
	if !all || len(s.onWay) == 0 || s.connection.blocked() != "" {
		return nil
	}
	var late []shipment
	for _, m := range s.onWay {
		since := m.since
		if since.Before(s.freed) {
			since = s.freed
		}
		if time.Since(since) > confirmTimeout {
			late = append(late, m.shipment)
		}
	}
	if len(late) == 0 {
		return nil
	}
	if err := s.postpone(ctx, late, unconfirmedPause); err != nil {
		return err
	}
	return fmt.Errorf("%w: %d of them, in %s", errUnconfirmed, len(late), confirmTimeout)
}
