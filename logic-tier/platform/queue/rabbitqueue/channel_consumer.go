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
	"techtalks.example/logic-tier/platform/queue/notify"
	"techtalks.example/logic-tier/platform/queue/prefetch"
)

// channelConsumer consumes a queue on one channel. RabbitMQ's prefetch limits the
// messages that it holds.
type channelConsumer struct {
	*subscription
	connection *connection
	channel    *amqp.Channel
	// ctx ends when the consumer drains or the channel is lost.
	ctx    context.Context
	cancel context.CancelFunc
	// unhandled buffers the messages for which no handler has started.
	unhandled *prefetch.Buffer[*message]
	// settled receives when there are messages to acknowledge.
	settled chan struct{}

	mu   sync.Mutex
	held []heldMessage // in the order of their delivery tags
}

// heldMessage is an unacknowledged message.
type heldMessage struct {
	*message
	settled bool // can be acknowledged
	handled bool // settled because its handler succeeded
}

// consumeOn consumes on a new channel until ctx ends or the channel is lost.
func (s *subscription) consumeOn(ctx context.Context, connection *connection) error {
	channel, err := connection.channel()
	if err != nil {
		return err
	}
	defer connection.closeChannel(channel)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	if s.exclusive != nil {
		if err := s.declareExclusive(connection, channel); err != nil {
			return err
		}
		defer s.exclusiveName.Store(nil)
	}
	var deliveries <-chan amqp.Delivery
	err = connection.within(callTimeout, func() (err error) {
		if err = channel.Qos(s.Prefetch, 0, false); err == nil {
			deliveries, err = channel.Consume(s.queueName(), s.registry.Process, false, false, false, false, nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	c := &channelConsumer{
		subscription: s, connection: connection, channel: channel,
		unhandled: prefetch.New[*message](s.Prefetch), settled: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	defer c.cancel()
	var handlers, acknowledger sync.WaitGroup
	for range s.Concurrency {
		handlers.Go(c.handleAll)
	}
	acknowledger.Go(c.acknowledge)
	c.receive(ctx, deliveries, &handlers)
	draining := ctx.Err() != nil
	c.cancel()
	c.unhandled.Close()
	handlers.Wait()
	close(c.settled)
	acknowledger.Wait()
	defer s.setUnacknowledged(0)
	if draining && !channel.IsClosed() {
		c.requeueHeld()
		return nil
	}
	return channelCloseErr(closed)
}

// channelCloseErr returns the reason for which a channel was closed.
func channelCloseErr(closed <-chan *amqp.Error) error {
	var err *amqp.Error
	select {
	case err = <-closed:
	case <-time.After(closeTimeout):
	}
	switch {
	case err == nil:
		return errors.New("RabbitMQ cancelled the consumer: check whether the queue was deleted")
	case err.Code == amqp.PreconditionFailed && strings.Contains(err.Reason, "timed out"):
		return fmt.Errorf("a message was unacknowledged for longer than RabbitMQ allows: set consumer_timeout = %d in rabbitmq.conf (%w)", consumerTimeout.Milliseconds(), err)
	}
	return err
}

// receive accepts deliveries until the channel is lost, or ctx ends and RabbitMQ
// has confirmed the cancellation.
func (c *channelConsumer) receive(ctx context.Context, deliveries <-chan amqp.Delivery, handlers *sync.WaitGroup) {
	var canceller sync.WaitGroup
	defer canceller.Wait()
	for draining := ctx.Done(); ; {
		select {
		case d, open := <-deliveries:
			if !open {
				return
			}
			c.accept(&d, handlers)
		case <-draining:
			draining = nil
			canceller.Go(func() {
				_ = c.connection.within(callTimeout, func() error { return c.channel.Cancel(c.registry.Process, false) })
			})
		}
	}
}

// accept holds a delivery, and buffers it for a handler or dead-letters it.
func (c *channelConsumer) accept(d *amqp.Delivery, handlers *sync.WaitGroup) {
	m := c.decode(d, c.queueName())
	if m.Queue == c.queueName() {
		m.Queue = c.Consumer.Queue
	}
	if m.rejection == nil && m.Count > c.deliveryLimit {
		m.Count--
		m.rejection = fmt.Errorf("delivered %d times, but no consumer lived to acknowledge it: the limit is %d", m.Count, c.deliveryLimit)
	}
	c.mu.Lock()
	c.held = append(c.held, heldMessage{message: m})
	c.setUnacknowledged(len(c.held))
	c.mu.Unlock()
	if m.rejection == nil {
		c.member.CountDelivery(m.Count)
		c.unhandled.Put(m.Priority, m)
		return
	}
	// In a goroutine of its own, because all handlers can be busy for long.
	handlers.Go(func() { c.deadLetter(m, m.rejection) })
}

// handleAll handles messages one at a time.
func (c *channelConsumer) handleAll() {
	for m := range c.unhandled.Receive() {
		if c.ctx.Err() != nil {
			continue // stays held
		}
		c.handle(m)
	}
}

// handle calls the handler and settles the message according to its result.
func (c *channelConsumer) handle(m *message) {
	ctx, cancel := context.WithCancel(c.ctx)
	err := c.Handle.Call(ctx, m.Delivery)
	cancel()
	switch {
	case err == nil:
		c.settle(m, true)
	case c.ctx.Err() != nil:
		// The consumer drains or lost its channel: not a failure of the message.
	case queue.IsRejected(err) || m.Count >= c.deliveryLimit:
		c.deadLetter(m, err)
	default:
		c.retry(m, err)
	}
}

// deadLetter stores a message as a dead letter and then settles it. The message
// stays held while the database is unavailable.
func (c *channelConsumer) deadLetter(m *message, cause error) {
	c.log.Error("queue: message goes to the dead letters", "queue", m.Queue, "message", m.ID, "type", m.Type, "deliveries", m.Count, "error", cause)
	letter := m.deadLetter(ledger.NewFailure(c.registry.Host, m.Delivery, cause))
	stored := c.retryStore("queue: cannot store a dead letter; retrying", m, func(ctx context.Context) (err error) {
		if letter.ID == 0 {
			if letter.ID, err = nextID(ctx, c.db); err != nil {
				return err
			}
		}
		return ledger.AddDeadLetter(ctx, c.db, letter)
	})
	if stored {
		c.member.CountDead(1)
		c.settle(m, false)
	}
}

// retry puts a failed message into the outbox, addressed to its own queue and due
// after a backoff, and then settles it. The message stays held while the database
// is unavailable.
func (c *channelConsumer) retry(m *message, cause error) {
	pause := queue.Backoff(m.Count)
	c.log.Warn("queue: handler failed; the message will be redelivered", "queue", m.Queue, "message", m.ID, "type", m.Type, "deliveries", m.Count, "again_in", pause, "error", cause)
	m.history = ledger.AppendFailure(m.history, ledger.NewFailure(c.registry.Host, m.Delivery, cause))
	stored := c.retryStore("queue: cannot put a failed message back; retrying", m, func(ctx context.Context) error {
		return requeue(ctx, c.db, []*message{m}, func(m *message) int { return m.Count }, pause)
	})
	if stored {
		c.notifier.Notify(notify.Outbox)
		c.settle(m, false)
	}
}

// retryStore calls store until it succeeds. It reports false if the consumer drains
// or loses its channel first. It logs each failure as warning.
func (c *channelConsumer) retryStore(warning string, m *message, store func(context.Context) error) bool {
	for failures := 0; ; {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), statementTimeout)
		err := store(ctx)
		cancel()
		if err == nil {
			return true
		}
		if c.ctx.Err() != nil {
			return false
		}
		failures++
		c.log.Warn(warning, "queue", m.Queue, "message", m.ID, "error", err)
		if !notify.Sleep(c.ctx, retryPause(failures)) {
			return false
		}
	}
}

// settle marks a message for acknowledgement.
func (c *channelConsumer) settle(m *message, handled bool) {
	c.mu.Lock()
	if i := c.indexOf(m.tag); i >= 0 {
		c.held[i].settled, c.held[i].handled = true, handled
	}
	c.mu.Unlock()
	notify.Signal(c.settled)
}

// indexOf returns the index in c.held of a delivery tag, or -1.
func (c *channelConsumer) indexOf(tag uint64) int {
	i, found := slices.BinarySearchFunc(c.held, tag, func(h heldMessage, tag uint64) int {
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
	return i
}

// acknowledge acknowledges settled messages in batches: those before the first
// message that is still held with one basic.ack, the others one by one.
func (c *channelConsumer) acknowledge() {
	for range c.settled {
		upTo, single, handled := c.takeSettled()
		if c.channel.IsClosed() {
			continue
		}
		err := c.connection.writes.batch(func() (err error) {
			if upTo > 0 {
				err = c.channel.Ack(upTo, true)
			}
			for _, tag := range single {
				err = errors.Join(err, c.channel.Ack(tag, false))
			}
			return err
		})
		if err == nil {
			c.member.CountAcknowledged(handled)
		}
	}
}

// takeSettled removes the settled messages from c.held. It returns the tag up to
// which all messages are settled (0 if none), the tags of the others, and how many
// of all of them were handled.
func (c *channelConsumer) takeSettled() (upTo uint64, single []uint64, handled int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, h := range c.held {
		if !h.settled {
			c.held[n] = h
			n++
			continue
		}
		if h.handled {
			handled++
		}
		if n == 0 {
			upTo = h.tag
		} else {
			single = append(single, h.tag)
		}
	}
	clear(c.held[n:])
	c.held = c.held[:n]
	c.setUnacknowledged(n)
	return upTo, single, handled
}

// requeueHeld returns the held messages to the queue without counting this delivery.
// RabbitMQ does not count a basic.nack from 4.3 on. Earlier versions count it, so
// the messages go through the outbox, and to the end of the queue.
func (c *channelConsumer) requeueHeld() {
	if len(c.held) == 0 || c.exclusive != nil {
		return
	}
	last := c.held[len(c.held)-1].tag
	major, minor := c.connection.version()
	if major > 4 || major == 4 && minor >= 3 || c.Consumer.Queue == deadLetterQueue {
		_ = c.channel.Nack(last, true, true)
		return
	}
	messages := make([]*message, len(c.held))
	for i, h := range c.held {
		messages[i] = h.message
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), statementTimeout)
	defer cancel()
	if err := requeue(ctx, c.db, messages, func(m *message) int { return m.Count - 1 }, 0); err != nil {
		c.log.Warn("queue: cannot put messages into the outbox; RabbitMQ redelivers them and counts this delivery", "queue", c.Consumer.Queue, "messages", len(messages), "error", err)
		_ = c.channel.Nack(last, true, true)
		return
	}
	c.notifier.Notify(notify.Outbox)
	_ = c.channel.Ack(last, true)
}
