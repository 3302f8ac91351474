package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// deadLetterQueue names the exchange, and its one queue, to which RabbitMQ itself
// dead-letters messages.
const deadLetterQueue = "dead-letters"

const (
	// brokerDeliveryLimit is the number of unacknowledged deliveries after which
	// RabbitMQ dead-letters a message. It is a safety net for messages whose consumers
	// always die before they can check the queue's own limit. The engine counts more
	// precisely, and a queue's own limit can change between versions of the program
	// while an argument of a queue cannot. Without a limit RabbitMQ would requeue
	// messages at the end of the queue.
	brokerDeliveryLimit = 1000
	// consumerTimeout bounds how long a delivery can stay unacknowledged. It is over
	// the longest handler and its queue wait. RabbitMQ before 3.12 supports only the
	// setting of this name.
	consumerTimeout = 24 * time.Hour
)

// queueArguments are the arguments of every queue. RabbitMQ rejects the declaration
// of an existing queue with other arguments, so they must not change between
// versions.
var queueArguments = amqp.Table{
	"x-queue-type":     "quorum",
	"x-delivery-limit": int32(brokerDeliveryLimit),
	// RabbitMQ keeps a dead-lettered message until the dead letter queue has stored
	// it; this strategy requires the overflow behaviour reject-publish.
	"x-dead-letter-exchange": deadLetterQueue,
	"x-dead-letter-strategy": "at-least-once",
	"x-overflow":             "reject-publish",
	"x-consumer-timeout":     consumerTimeout.Milliseconds(),
}

// deadLetterQueueArguments set no effective delivery limit, because the dead letter
// queue has no dead letter queue of its own.
var deadLetterQueueArguments = amqp.Table{
	"x-queue-type":       "quorum",
	"x-delivery-limit":   int32(math.MaxInt32),
	"x-overflow":         "reject-publish",
	"x-consumer-timeout": consumerTimeout.Milliseconds(),
}

// Declare declares topologies; see queue.Broker. If RabbitMQ is unavailable, Declare
// does not wait: the next connection declares the topologies there.
func (q *Queue) Declare(ctx context.Context, topologies ...queue.Topology) error {
	for _, t := range topologies {
		for _, declared := range t.Queues {
			if declared.Name == deadLetterQueue {
				return queue.Permanent(fmt.Errorf("queue %q is reserved for messages that RabbitMQ dead-letters: declare another name", deadLetterQueue))
			}
		}
		if slices.ContainsFunc(t.Exchanges, func(e queue.Exchange) bool { return e.Name == deadLetterQueue }) {
			return queue.Permanent(fmt.Errorf("exchange %q is reserved for messages that RabbitMQ dead-letters: declare another name", deadLetterQueue))
		}
	}
	// Bindings that are no longer declared stay in the ledger until RabbitMQ has
	// removed them: AMQP cannot list RabbitMQ's bindings.
	if err := ledger.DeclareKeepingBindings(ctx, q.db, topologies...); err != nil {
		return err
	}
	q.addDeclared(topologies)
	c, err := q.address.dial(ctx, q.connectionName("topology"))
	if err != nil {
		if queue.IsPermanent(err) {
			return err
		}
		q.log.Warn("queue: RabbitMQ is unavailable; declaring the topology when it is back", "error", err)
		return nil
	}
	defer c.close()
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	err = q.applyTopology(ctx, c)
	if err != nil && !queue.IsPermanent(err) && c.IsClosed() && ctx.Err() == nil {
		q.log.Warn("queue: connection to RabbitMQ lost; declaring the topology when it is back", "error", err)
		return nil
	}
	return err
}

// addDeclared merges topologies into those that this process declares, and marks
// them as not applied to RabbitMQ yet.
func (q *Queue) addDeclared(topologies []queue.Topology) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.declaredVersion++
	for _, t := range topologies {
		for _, e := range t.Exchanges {
			q.declared.Exchanges = slices.DeleteFunc(q.declared.Exchanges, func(previous queue.Exchange) bool { return previous.Name == e.Name })
			q.declared.Exchanges = append(q.declared.Exchanges, e)
		}
		for _, declared := range t.Queues {
			q.declared.Queues = slices.DeleteFunc(q.declared.Queues, func(previous queue.Queue) bool { return previous.Name == declared.Name })
			q.declared.Queues = append(q.declared.Queues, declared.WithDefaults())
		}
	}
}

// declaredQueue returns a queue as this process declared it.
func (q *Queue) declaredQueue(name string) (declared queue.Queue, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.declared.Queues, func(declared queue.Queue) bool { return declared.Name == name })
	if i < 0 {
		return queue.Queue{}, false
	}
	return q.declared.Queues[i], true
}

// ledgerTopology returns the topology in the ledger, which all processes declared.
func (q *Queue) ledgerTopology(ctx context.Context) (queue.Topology, error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return loadTopology(ctx, q.db)
}

// applyTopology declares in RabbitMQ what this process declares, and then removes
// stale bindings from RabbitMQ and the ledger. If this process's topology is applied
// already, it restores what RabbitMQ may have lost instead.
func (q *Queue) applyTopology(ctx context.Context, c *connection) error {
	q.mu.Lock()
	declared := queue.Topology{Exchanges: slices.Clone(q.declared.Exchanges), Queues: slices.Clone(q.declared.Queues)}
	version, applied := q.declaredVersion, q.appliedVersion == q.declaredVersion
	q.mu.Unlock()
	if applied {
		// From the ledger, and not from this process: a process of an older version
		// would restore bindings that newer ones have removed.
		_, err := q.restoreTopology(ctx, c)
		if errors.Is(err, postgres.ErrUnavailable) {
			return nil // RabbitMQ keeps its topology, and the relay restores the rest
		}
		return err
	}
	stored, err := q.ledgerTopology(ctx)
	if err != nil {
		return err
	}
	if err := q.address.declare(c, declared, func(err error) error { return err }); err != nil {
		return err
	}
	stale := staleBindings(stored, declared)
	if err := c.unbind(stale); err != nil {
		return err
	}
	declareCtx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if err := ledger.Declare(declareCtx, q.db, declared); err != nil {
		return err
	}
	// Again, because another process may have restored the stale bindings before they
	// were removed from the ledger.
	if err := c.unbind(stale); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.appliedVersion = version // without topologies declared since
	return nil
}

// restoreTopology declares in RabbitMQ the whole topology of the ledger, so that a
// RabbitMQ that lost its data, or is new, routes messages as declared. It returns
// the names of the exchanges. It logs an exchange or queue that differs from its
// declaration, leaves it unchanged, and continues: the process that declares it gets
// the error.
func (q *Queue) restoreTopology(ctx context.Context, c *connection) (exchanges map[string]bool, err error) {
	stored, err := q.ledgerTopology(ctx)
	if err != nil {
		return nil, err
	}
	logPermanent := func(err error) error {
		if !queue.IsPermanent(err) {
			return err
		}
		q.log.Error("queue: RabbitMQ's topology differs from the declared one", "error", err)
		return nil
	}
	if err := q.address.declare(c, stored, logPermanent); err != nil {
		return nil, err
	}
	// Remove bindings that another process removed while this one restored them.
	current, err := q.ledgerTopology(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.unbind(staleBindings(stored, current)); err != nil {
		return nil, err
	}
	exchanges = make(map[string]bool, len(stored.Exchanges))
	for _, e := range stored.Exchanges {
		exchanges[e.Name] = true
	}
	return exchanges, nil
}

// declare declares the exchanges, queues and bindings of t that do not exist in
// RabbitMQ. Consumers declare exclusive queues themselves. declare passes errors to
// onError, and continues if that returns nil.
func (a address) declare(c *connection, t queue.Topology, onError func(error) error) error {
	channel, err := c.channel()
	if err != nil {
		return err
	}
	defer func() { c.closeChannel(channel) }()
	// try calls RabbitMQ by call and reports whether that succeeded.
	try := func(kind, name string, call func() error) (bool, error) {
		err := c.within(callTimeout, call)
		if err == nil {
			return true, nil
		}
		if err = onError(a.explainDeclareError(kind, name, err)); err == nil {
			channel, err = c.channel() // RabbitMQ has closed the previous one
		}
		return false, err
	}
	exchanges := append([]queue.Exchange{{Name: deadLetterQueue, Type: queue.Fanout}}, t.Exchanges...)
	for _, e := range exchanges {
		_, err := try("exchange", e.Name, func() error { return channel.ExchangeDeclare(e.Name, string(e.Type), true, false, false, false, nil) })
		if err != nil {
			return err
		}
	}
	types := exchangeTypes(exchanges)
	queues := append([]queue.Queue{{Name: deadLetterQueue, Bindings: []queue.Binding{{Exchange: deadLetterQueue}}}}, t.Queues...)
	for _, declared := range queues {
		if declared.Exclusive {
			continue
		}
		arguments := queueArguments
		if declared.Name == deadLetterQueue {
			arguments = deadLetterQueueArguments
		}
		ok, err := try("queue", declared.Name, func() error {
			_, err := channel.QueueDeclare(declared.Name, true, false, false, false, arguments)
			return err
		})
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := c.bind(channel, declared.Name, declared.Bindings, types); err != nil {
			return err
		}
	}
	return nil
}

func exchangeTypes(exchanges []queue.Exchange) map[string]queue.ExchangeType {
	types := make(map[string]queue.ExchangeType, len(exchanges))
	for _, e := range exchanges {
		types[e.Name] = e.Type
	}
	return types
}

// bind binds a queue to exchanges, whose types it needs.
func (c *connection) bind(channel *amqp.Channel, name string, bindings []queue.Binding, types map[string]queue.ExchangeType) error {
	for _, b := range bindings {
		key, arguments := amqpBinding(b, types[b.Exchange])
		if err := c.within(callTimeout, func() error { return channel.QueueBind(name, key, b.Exchange, false, arguments) }); err != nil {
			return fmt.Errorf("bind queue %q to exchange %q in RabbitMQ: %w", name, b.Exchange, err)
		}
	}
	return nil
}

// unbind removes bindings. A binding that does not exist is no error.
func (c *connection) unbind(bindings []queueBinding) error {
	if len(bindings) == 0 {
		return nil
	}
	channel, err := c.channel()
	if err != nil {
		return err
	}
	defer c.closeChannel(channel)
	for _, b := range bindings {
		key, arguments := amqpBinding(b.binding, b.exchangeType)
		if err := c.within(callTimeout, func() error { return channel.QueueUnbind(b.queue, key, b.binding.Exchange, arguments) }); err != nil {
			return fmt.Errorf("unbind queue %q from exchange %q in RabbitMQ: %w", b.queue, b.binding.Exchange, err)
		}
	}
	return nil
}

// queueBinding is a binding with its queue.
type queueBinding struct {
	queue        string
	binding      queue.Binding
	exchangeType queue.ExchangeType
}

// staleBindings returns the bindings that previous has of queues in current, and
// current does not have.
func staleBindings(previous, current queue.Topology) (stale []queueBinding) {
	types := exchangeTypes(previous.Exchanges)
	for _, before := range previous.Queues {
		i := slices.IndexFunc(current.Queues, func(after queue.Queue) bool { return after.Name == before.Name })
		if i < 0 {
			continue
		}
		for _, b := range before.Bindings {
			kept := slices.ContainsFunc(current.Queues[i].Bindings, func(after queue.Binding) bool {
				return after.Exchange == b.Exchange && after.Text() == b.Text()
			})
			if !kept {
				stale = append(stale, queueBinding{before.Name, b, types[b.Exchange]})
			}
		}
	}
	return stale
}
