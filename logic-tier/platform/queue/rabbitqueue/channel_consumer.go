package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/prefetch"
	"techtalks.example/logic-tier/platform/queue/wake"
)

// session is a consumer on one channel. What it holds is RabbitMQ's prefetch.
type session struct {
	*consumption
	connection *connection
	channel    *amqp.Channel
	// ctx ends when the consumer drains or the channel is lost.
	ctx  context.Context
	lose context.CancelFunc
	// waiting is what no handler has begun.
	waiting *prefetch.Buffer[*message]
	// settled is filled when there is something to acknowledge.
	settled chan struct{}

	mu   sync.Mutex
	held []held // in the order of their tags
}

// held is a message that is not acknowledged.
type held struct {
	*message
	// over says that it may be acknowledged; worked, that its handler is why.
	over, worked bool
}

// session consumes on a channel of its own until ctx ends or the channel is lost.
func (c *consumption) session(ctx context.Context, connection *connection) error {
	channel, err := connection.channel()
	if err != nil {
		return err
	}
	defer connection.closeChannel(channel)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	if c.exclusive != nil {
		if err := c.makeExclusive(connection, channel); err != nil {
			return err
		}
		defer c.kept.Store(nil)
	}
	var deliveries <-chan amqp.Delivery
	err = connection.within(callTimeout, func() (err error) {
		if err = channel.Qos(c.Prefetch, 0, false); err == nil {
			deliveries, err = channel.Consume(c.queueName(), c.registry.Process, false, false, false, false, nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	s := &session{
		consumption: c, connection: connection, channel: channel,
		waiting: prefetch.New[*message](c.Prefetch), settled: make(chan struct{}, 1),
	}
	s.ctx, s.lose = context.WithCancel(ctx)
	defer s.lose()
	var handlers, acknowledging sync.WaitGroup
	for range c.Concurrency {
		handlers.Go(s.work)
	}
	acknowledging.Go(s.acknowledge)
	s.receive(ctx, deliveries, &handlers)
	draining := ctx.Err() != nil
	s.lose()
	s.waiting.Close()
	handlers.Wait()
	close(s.settled)
	acknowledging.Wait()
	defer c.hold(0)
	if draining && !channel.IsClosed() {
		s.putBack()
		return nil
	}
	return whyClosed(closed)
}

// whyClosed returns why a channel was lost.
func whyClosed(closed <-chan *amqp.Error) error {
	var said *amqp.Error
	select {
	case said = <-closed:
	case <-time.After(closeTimeout):
	}
	switch {
	case said == nil:
		return errors.New("RabbitMQ ended it: is the queue deleted?")
	case said.Code == amqp.PreconditionFailed && strings.Contains(said.Reason, "timed out"):
		return fmt.Errorf("it worked on a message for longer than RabbitMQ allows: set consumer_timeout = %d in rabbitmq.conf (%w)", consumerTimeout.Milliseconds(), said)
	}
	return said
}

// receive takes deliveries until there are no more: the channel was lost, or ctx
// ended and RabbitMQ has confirmed that no more come.
func (s *session) receive(ctx context.Context, deliveries <-chan amqp.Delivery, handlers *sync.WaitGroup) {
	var cancelling sync.WaitGroup
	defer cancelling.Wait()
	for ending := ctx.Done(); ; {
		select {
		case d, open := <-deliveries:
			if !open {
				return
			}
			s.take(&d, handlers)
		case <-ending:
			ending = nil
			cancelling.Go(func() {
				_ = s.connection.within(callTimeout, func() error { return s.channel.Cancel(s.registry.Process, false) })
			})
		}
	}
}

// take holds a delivery, and has it wait for a handler unless no handler is to
// get it.
func (s *session) take(d *amqp.Delivery, handlers *sync.WaitGroup) {
	m := s.read(d, s.queueName())
	if m.Queue == s.queueName() {
		m.Queue = s.Consumer.Queue
	}
	if m.refused == nil && m.Count > s.deliveryLimit {
		m.Count--
		m.refused = fmt.Errorf("delivered %d times, and its consumers did not live to answer: the limit is %d", m.Count, s.deliveryLimit)
	}
	s.mu.Lock()
	s.held = append(s.held, held{message: m})
	s.hold(len(s.held))
	s.mu.Unlock()
	if m.refused == nil {
		s.member.Delivered(m.Count)
		s.waiting.Put(m.Priority, m)
		return
	}
	// Beside the handlers, which may all be busy for long.
	handlers.Go(func() { s.bury(m, m.refused) })
}

func (c *consumption) hold(n int) {
	c.holding.Store(int64(n))
	c.member.Holds(n)
}

// work handles messages, one at a time.
func (s *session) work() {
	for m := range s.waiting.InTurn() {
		if s.ctx.Err() != nil {
			continue // it stays held
		}
		s.handle(m)
	}
}

// handle calls the handler and settles the message as its answer says.
func (s *session) handle(m *message) {
	ctx, done := context.WithCancel(s.ctx)
	err := s.Handle.Call(ctx, m.Delivery)
	done()
	switch {
	case err == nil:
		s.settle(m, true)
	case s.ctx.Err() != nil:
		// Draining, or the channel was lost: not the message's fault.
	case queue.Rejected(err) || m.Count >= s.deliveryLimit:
		s.bury(m, err)
	default:
		s.back(m, err)
	}
}

// bury keeps a message as a dead letter and then has it acknowledged. While the
// database is away it stays held.
func (s *session) bury(m *message, cause error) {
	s.log.Error("queue: message goes to the dead letters", "queue", m.Queue, "message", m.ID, "type", m.Type, "deliveries", m.Count, "error", cause)
	letter := m.letter(ledger.NewFailure(s.registry.Host, m.Delivery, cause))
	kept := s.keepTrying("queue: dead letter not kept; trying again", m, func(ctx context.Context) (err error) {
		if letter.ID == 0 {
			if letter.ID, err = nextID(ctx, s.db); err != nil {
				return err
			}
		}
		return ledger.Bury(ctx, s.db, letter)
	})
	if kept {
		s.member.Died(1)
		s.settle(m, false)
	}
}

// back puts a message into the outbox for a while, for its own queue, and then
// has it acknowledged. While the database is away it stays held.
func (s *session) back(m *message, cause error) {
	wait := queue.Backoff(m.Count)
	s.log.Warn("queue: message not handled; it is delivered again", "queue", m.Queue, "message", m.ID, "type", m.Type, "deliveries", m.Count, "again_in", wait, "error", cause)
	m.history = ledger.History(m.history, ledger.NewFailure(s.registry.Host, m.Delivery, cause))
	put := s.keepTrying("queue: message not put back; trying again", m, func(ctx context.Context) error {
		return putBack(ctx, s.db, []*message{m}, func(m *message) int { return m.Count }, wait)
	})
	if put {
		s.bell.Ring(wake.Outbox)
		s.settle(m, false)
	}
}

// keepTrying does something in the database until it is done; false when the
// message is not this consumer's any more, or the consumer drains.
func (s *session) keepTrying(otherwise string, m *message, do func(context.Context) error) bool {
	for failed := 0; ; {
		ctx, done := context.WithTimeout(context.WithoutCancel(s.ctx), statementTimeout)
		err := do(ctx)
		done()
		if err == nil {
			return true
		}
		if s.ctx.Err() != nil {
			return false
		}
		failed++
		s.log.Warn(otherwise, "queue", m.Queue, "message", m.ID, "error", err)
		if !wake.Pause(s.ctx, retryPause(failed)) {
			return false
		}
	}
}

// settle has a message acknowledged.
func (s *session) settle(m *message, worked bool) {
	s.mu.Lock()
	if at := s.at(m.tag); at >= 0 {
		s.held[at].over, s.held[at].worked = true, worked
	}
	s.mu.Unlock()
	wake.Fill(s.settled)
}

func (s *session) at(tag uint64) int {
	at, found := slices.BinarySearchFunc(s.held, tag, func(h held, tag uint64) int {
		switch {
		case h.tag < tag:
			return -1
		case h.tag > tag:
			return 1
		}
		return 0
	})
	if !found {
		return -1
	}
	return at
}

// acknowledge acknowledges what is settled, as many at once as there are: those
// with none before them that is still held in one word, the others one by one.
func (s *session) acknowledge() {
	for range s.settled {
		first, others, worked := s.takeSettled()
		if s.channel.IsClosed() {
			continue
		}
		err := s.connection.writes.together(func() (err error) {
			if first > 0 {
				err = s.channel.Ack(first, true)
			}
			for _, tag := range others {
				err = errors.Join(err, s.channel.Ack(tag, false))
			}
			return err
		})
		if err == nil {
			s.member.Acknowledged(worked)
		}
	}
}

// takeSettled takes what is settled out of what is held: up to the tag first, and
// others.
func (s *session) takeSettled() (first uint64, others []uint64, worked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, h := range s.held {
		if !h.over {
			s.held[n] = h
			n++
			continue
		}
		if h.worked {
			worked++
		}
		if n == 0 {
			first = h.tag
		} else {
			others = append(others, h.tag)
		}
	}
	clear(s.held[n:])
	s.held = s.held[:n]
	s.hold(n)
	return first, others, worked
}

// putBack puts back what no handler finished, without counting it as a delivery.
// RabbitMQ from 4.3 on does so by basic.nack; one before would count it, so it
// goes through the outbox, and to the end of its queue.
func (s *session) putBack() {
	if len(s.held) == 0 || s.exclusive != nil {
		return
	}
	last := s.held[len(s.held)-1].tag
	major, minor := s.connection.version()
	if major > 4 || major == 4 && minor >= 3 || s.Consumer.Queue == deadLetters {
		_ = s.channel.Nack(last, true, true)
		return
	}
	messages := make([]*message, len(s.held))
	for i, h := range s.held {
		messages[i] = h.message
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(s.ctx), statementTimeout)
	defer done()
	if err := putBack(ctx, s.db, messages, func(m *message) int { return m.Count - 1 }, 0); err != nil {
		s.log.Warn("queue: messages not put into the outbox; RabbitMQ delivers them again, and counts this delivery", "queue", s.Consumer.Queue, "messages", len(messages), "error", err)
		_ = s.channel.Nack(last, true, true)
		return
	}
	s.bell.Ring(wake.Outbox)
	_ = s.channel.Ack(last, true)
}
