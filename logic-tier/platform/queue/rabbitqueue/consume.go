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

// subscription is a running call of Consume.
type subscription struct {
	*Queue
	queue.Consumer
	member        *ledger.Member
	deliveryLimit int
	// decode converts a delivery; the message's rejection is nil if it is for the
	// handler.
	decode func(d *amqp.Delivery, queueName string) *message
	// exclusive is the declaration of an exclusive queue, of which each consumer has
	// its own, and exclusiveName the name of this consumer's. Both are nil otherwise.
	exclusive      *queue.Queue
	exclusiveName  atomic.Pointer[string]
	unacknowledged atomic.Int64 // messages
}

// Consume delivers a queue's messages; see queue.Broker.
func (q *Queue) Consume(ctx context.Context, consumer queue.Consumer) error {
	consumer = consumer.WithDefaults()
	if consumer.Prefetch > math.MaxUint16 {
		return queue.Permanent(fmt.Errorf("consume queue %q: prefetch of %d: use at most %d", consumer.Queue, consumer.Prefetch, math.MaxUint16))
	}
	member := q.registry.Join(consumer)
	s := &subscription{Queue: q, Consumer: consumer, member: member, decode: decodeMessage}
	q.consumerConnection.acquire()
	defer q.consumerConnection.release()
	q.add(s)
	s.run(ctx)
	q.remove(s)
	// Store a last report, so that the registry does not list messages that this
	// consumer no longer holds.
	member.SetHeld(0)
	q.storeConsumers(context.WithoutCancel(ctx))
	q.registry.Leave(member)
	return nil
}

func (q *Queue) add(s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subscriptions[s] = true
}

func (q *Queue) remove(s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.subscriptions, s)
}

// run consumes until ctx ends, on a new channel whenever the previous one is lost.
func (s *subscription) run(ctx context.Context) {
	for ctx.Err() == nil {
		// Retried, because a process can start while the database is unavailable.
		if err := s.loadDeclaration(ctx); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("queue: cannot consume yet; retrying", "queue", s.Consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, consumeRetryInterval)
			continue
		}
		connection := s.consumerConnection.wait(ctx)
		if connection == nil {
			return
		}
		err := s.consumeOn(ctx, connection)
		if connection.IsClosed() {
			<-connection.done // consumerConnection logs the loss and reconnects
			continue
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			s.log.Warn("queue: consumer lost its channel; reopening", "queue", s.Consumer.Queue, "error", err)
		}
		notify.Sleep(ctx, consumeRetryInterval)
	}
}

// loadDeclaration loads the queue's delivery limit, and its declaration if the
// queue is exclusive.
func (s *subscription) loadDeclaration(ctx context.Context) error {
	if s.Consumer.Queue == deadLetterQueue {
		s.deliveryLimit = math.MaxInt
		return nil
	}
	if declared, ok := s.declaredQueue(s.Consumer.Queue); ok {
		s.deliveryLimit = declared.DeliveryLimit
		if declared.Exclusive {
			s.exclusive = &declared
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	limit, found, err := deliveryLimit(ctx, s.db, s.Consumer.Queue)
	if err == nil && !found {
		err = fmt.Errorf("queue %q is not declared: declare it before consuming it", s.Consumer.Queue)
	}
	s.deliveryLimit = limit
	return err
}

// declareExclusive declares and binds this consumer's own queue on its connection.
func (s *subscription) declareExclusive(connection *connection, channel *amqp.Channel) error {
	name := fmt.Sprintf("%s%s%s-%04x", s.exclusive.Name, exclusiveSeparator, s.registry.Process, rand.N(1<<16))
	err := connection.within(callTimeout, func() error {
		_, err := channel.QueueDeclare(name, false, true, true, false, amqp.Table{"x-queue-type": "classic"})
		return err
	})
	if err != nil {
		return s.address.explainDeclareError("queue", name, err)
	}
	s.mu.Lock()
	types := exchangeTypes(s.declared.Exchanges)
	s.mu.Unlock()
	if err := connection.bind(channel, name, s.exclusive.Bindings, types); err != nil {
		return err
	}
	s.exclusiveName.Store(&name)
	return nil
}

// queueName returns the queue's name in RabbitMQ.
func (s *subscription) queueName() string {
	if name := s.exclusiveName.Load(); name != nil {
		return *name
	}
	return s.Consumer.Queue
}

func (s *subscription) setUnacknowledged(n int) {
	s.unacknowledged.Store(int64(n))
	s.member.SetHeld(n)
}

// deadLetterPrefetch bounds the messages dead-lettered by RabbitMQ that a process
// holds.
const deadLetterPrefetch = 20

// consumeDeadLetters stores as dead letters the messages that RabbitMQ itself
// dead-letters: those whose consumers died too often, and those that exceed the
// age or length limit of an operator's policy.
func (q *Queue) consumeDeadLetters(ctx context.Context) error {
	consumer := queue.Consumer{Queue: deadLetterQueue, Prefetch: deadLetterPrefetch, Concurrency: 1}
	// An internal consumer: the registry does not list it.
	member := q.registry.Join(consumer)
	q.registry.Leave(member)
	s := &subscription{Queue: q, Consumer: consumer, member: member, decode: decodeDeadLetter}
	s.run(ctx)
	return nil
}
