package rabbitqueue

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/notify"
)

// consumption is one Consume under way.
type consumption struct {
	*Queue
	queue.Consumer
	member        *ledger.Member
	deliveryLimit int
	// read reads a delivery; most are for the handler.
	read func(*amqp.Delivery, string) *message
	// exclusive is the queue as declared when each consumer has its own, whose name
	// is kept.
	exclusive *queue.Queue
	kept      atomic.Pointer[string]
	// holding is how many messages are not acknowledged.
	holding atomic.Int64
}

// Consume delivers a queue's messages; see queue.Broker.
func (q *Queue) Consume(ctx context.Context, consumer queue.Consumer) error {
	consumer = consumer.WithDefaults()
	if consumer.Prefetch > math.MaxUint16 {
		return queue.Permanent(fmt.Errorf("consume queue %q: prefetch of %d: use at most %d", consumer.Queue, consumer.Prefetch, math.MaxUint16))
	}
	member := q.registry.Join(consumer)
	c := &consumption{Queue: q, Consumer: consumer, member: member, read: readMessage}
	q.link.join()
	defer q.link.leave()
	q.add(c)
	c.run(ctx)
	q.remove(c)
	// Written down once more, so that nobody thinks that it still holds messages.
	member.SetHeld(0)
	q.writeBeat(context.WithoutCancel(ctx))
	q.registry.Leave(member)
	return nil
}

func (q *Queue) add(c *consumption) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.consuming[c] = true
}

func (q *Queue) remove(c *consumption) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.consuming, c)
}

// run consumes until ctx ends, again and again: a session ends with its channel.
func (c *consumption) run(ctx context.Context) {
	for ctx.Err() == nil {
		// Looked up again until it is there: a process may start while the database
		// is away.
		if err := c.find(ctx); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("queue: cannot consume yet", "queue", c.Consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, look)
			continue
		}
		connection := c.link.get(ctx)
		if connection == nil {
			return
		}
		err := c.session(ctx, connection)
		if connection.IsClosed() {
			<-connection.ended // as the link tells
			continue
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			c.log.Warn("queue: consumer lost; making another", "queue", c.Consumer.Queue, "error", err)
		}
		notify.Sleep(ctx, look)
	}
}

// find finds out what is declared of the queue.
func (c *consumption) find(ctx context.Context) error {
	if c.Consumer.Queue == deadLetters {
		c.deliveryLimit = math.MaxInt
		return nil
	}
	if declared, known := c.known(c.Consumer.Queue); known {
		c.deliveryLimit = declared.DeliveryLimit
		if declared.Exclusive {
			c.exclusive = &declared
		}
		return nil
	}
	ctx, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	limit, found, err := deliveryLimit(ctx, c.db, c.Consumer.Queue)
	if err == nil && !found {
		err = fmt.Errorf("queue %q is not declared: declare it before consuming it", c.Consumer.Queue)
	}
	c.deliveryLimit = limit
	return err
}

// makeExclusive makes the queue that is this consumer's alone, on its own connection.
func (c *consumption) makeExclusive(connection *connection, channel *amqp.Channel) error {
	name := fmt.Sprintf("%s%s%s-%04x", c.exclusive.Name, exclusiveMark, c.registry.Process, rand.N(1<<16))
	err := connection.within(callTimeout, func() error {
		_, err := channel.QueueDeclare(name, false, true, true, false, amqp.Table{"x-queue-type": "classic"})
		return err
	})
	if err != nil {
		return c.address.explainDeclaring("queue", name, err)
	}
	c.mu.Lock()
	types := map[string]queue.ExchangeType{}
	for _, e := range c.declared.Exchanges {
		types[e.Name] = e.Type
	}
	c.mu.Unlock()
	if err := connection.bind(channel, name, c.exclusive.Bindings, types); err != nil {
		return err
	}
	c.kept.Store(&name)
	return nil
}

// queueName returns the queue's name in RabbitMQ.
func (c *consumption) queueName() string {
	if name := c.kept.Load(); name != nil {
		return *name
	}
	return c.Consumer.Queue
}

// deadLettersPrefetch bounds the dead letters of RabbitMQ's own that a process has
// in hand.
const deadLettersPrefetch = 20

// buryDeadLetters puts among the dead letters what RabbitMQ itself gave up: its
// consumers died of it too often, or an operator's policy says that it is too old
// or too much.
func (q *Queue) buryDeadLetters(ctx context.Context) error {
	consumer := queue.Consumer{Queue: deadLetters, Prefetch: deadLettersPrefetch, Concurrency: 1}
	// No consumer that anybody asked for: it does not stand in the registry.
	member := q.registry.Join(consumer)
	q.registry.Leave(member)
	c := &consumption{Queue: q, Consumer: consumer, member: member, read: readDeadLetter}
	c.run(ctx)
	return nil
}
