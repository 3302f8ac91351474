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

// deadLetters is the exchange, and its one queue, to which RabbitMQ itself gives
// messages that it cannot keep in their queue.
const deadLetters = "dead-letters"

const (
	// brokerDeliveryLimit is after how many deliveries that nobody answered RabbitMQ
	// gives a message up. The engine counts better, and a queue's own limit may
	// change with the program, which an argument of a queue may not: this is the
	// net below, for messages that nobody lived long enough to look at. With no
	// limit RabbitMQ would put messages back at the queue's end.
	brokerDeliveryLimit = 1000
	// consumerTimeout is how long a delivery may stay unanswered: over the longest
	// work and its wait for it. RabbitMQ before 3.12 only knows the setting of this
	// name.
	consumerTimeout = 24 * time.Hour
)

// queueArguments are those of every queue. Another value in a later version of
// this program would be another queue to RabbitMQ.
var queueArguments = amqp.Table{
	"x-queue-type":     "quorum",
	"x-delivery-limit": int32(brokerDeliveryLimit),
	// What is dead-lettered stays until the dead letters' queue has it; for this
	// RabbitMQ wants a queue that refuses what it has no room for.
	"x-dead-letter-exchange": deadLetters,
	"x-dead-letter-strategy": "at-least-once",
	"x-overflow":             "reject-publish",
	"x-consumer-timeout":     consumerTimeout.Milliseconds(),
}

// deadLettersArguments: no limit, since behind this queue there is no other.
var deadLettersArguments = amqp.Table{
	"x-queue-type":       "quorum",
	"x-delivery-limit":   int32(math.MaxInt32),
	"x-overflow":         "reject-publish",
	"x-consumer-timeout": consumerTimeout.Milliseconds(),
}

// Declare declares topologies; see queue.Broker. It does not wait for a RabbitMQ
// that is away: its part follows with the next connection.
func (q *Queue) Declare(ctx context.Context, topologies ...queue.Topology) error {
	for _, t := range topologies {
		for _, declared := range t.Queues {
			if declared.Name == deadLetters {
				return queue.Permanent(fmt.Errorf("queue %q is where RabbitMQ's own dead letters go: declare another name", deadLetters))
			}
		}
		if slices.ContainsFunc(t.Exchanges, func(e queue.Exchange) bool { return e.Name == deadLetters }) {
			return queue.Permanent(fmt.Errorf("exchange %q is where RabbitMQ's own dead letters go: declare another name", deadLetters))
		}
	}
	// Bindings that are no longer declared stay in the ledger until RabbitMQ has
	// removed them: it cannot be asked which it has.
	if err := ledger.DeclareKeepingBindings(ctx, q.db, topologies...); err != nil {
		return err
	}
	q.remember(topologies)
	c, err := q.address.dial(ctx, q.connectionName("declares"))
	if err != nil {
		if queue.IsPermanent(err) {
			return err
		}
		q.log.Warn("queue: RabbitMQ is away; the topology is declared there when it is back", "error", err)
		return nil
	}
	defer c.close()
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	err = q.declareOn(ctx, c)
	if err != nil && !queue.IsPermanent(err) && c.IsClosed() && ctx.Err() == nil {
		q.log.Warn("queue: RabbitMQ went away; the topology is declared there when it is back", "error", err)
		return nil
	}
	return err
}

// remember adds to what this process declares, and says that RabbitMQ's part is to
// be done.
func (q *Queue) remember(topologies []queue.Topology) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.version++
	for _, t := range topologies {
		for _, e := range t.Exchanges {
			q.declared.Exchanges = slices.DeleteFunc(q.declared.Exchanges, func(known queue.Exchange) bool { return known.Name == e.Name })
			q.declared.Exchanges = append(q.declared.Exchanges, e)
		}
		for _, declared := range t.Queues {
			q.declared.Queues = slices.DeleteFunc(q.declared.Queues, func(known queue.Queue) bool { return known.Name == declared.Name })
			q.declared.Queues = append(q.declared.Queues, declared.WithDefaults())
		}
	}
}

// known returns a queue as this process declared it.
func (q *Queue) known(name string) (queue.Queue, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.IndexFunc(q.declared.Queues, func(declared queue.Queue) bool { return declared.Name == name })
	if at < 0 {
		return queue.Queue{}, false
	}
	return q.declared.Queues[at], true
}

// kept returns what the ledger has declared.
func (q *Queue) kept(ctx context.Context) (queue.Topology, error) {
	ctx, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	return topology(ctx, q.db)
}

// declareOn declares what this process declares, over a connection, and then
// forgets the bindings that are no longer declared. When that is done, it restores
// what may be lost.
func (q *Queue) declareOn(ctx context.Context, c *connection) error {
	q.mu.Lock()
	declared := queue.Topology{Exchanges: slices.Clone(q.declared.Exchanges), Queues: slices.Clone(q.declared.Queues)}
	version, settled := q.version, q.settled == q.version
	q.mu.Unlock()
	if settled {
		// Not what this process declares: an older version than that of others would
		// bind again what they have unbound.
		_, err := q.restore(ctx, c)
		if errors.Is(err, postgres.ErrUnavailable) {
			return nil // RabbitMQ keeps what it has, and a relay restores the rest
		}
		return err
	}
	kept, err := q.kept(ctx)
	if err != nil {
		return err
	}
	if err := q.address.declare(c, declared, func(err error) error { return err }); err != nil {
		return err
	}
	stale := left(kept, declared)
	if err := c.unbind(stale); err != nil {
		return err
	}
	declaring, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	if err := ledger.Declare(declaring, q.db, declared); err != nil {
		return err
	}
	// Once more, after who restored meanwhile what the ledger had then.
	if err := c.unbind(stale); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settled = version // not what was declared meanwhile
	return nil
}

// restore declares everything that the ledger knows, so that a RabbitMQ that has
// lost it, or never had it, routes what is shipped as it was meant. It returns the
// exchanges. What is there and differs stays as it is: who declares it is told, and
// the rest goes on.
func (q *Queue) restore(ctx context.Context, c *connection) (exchanges map[string]bool, err error) {
	all, err := q.kept(ctx)
	if err != nil {
		return nil, err
	}
	differs := func(err error) error {
		if !queue.IsPermanent(err) {
			return err
		}
		q.log.Error("queue: RabbitMQ's topology is not the one declared", "error", err)
		return nil
	}
	if err := q.address.declare(c, all, differs); err != nil {
		return nil, err
	}
	// What somebody unbound meanwhile is bound again now, by us.
	now, err := q.kept(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.unbind(left(all, now)); err != nil {
		return nil, err
	}
	exchanges = make(map[string]bool, len(all.Exchanges))
	for _, e := range all.Exchanges {
		exchanges[e.Name] = true
	}
	return exchanges, nil
}

// declare makes in RabbitMQ what is not there yet. Exclusive queues are made by
// their consumers. An error goes through failed, which may let the rest go on.
func (a address) declare(c *connection, t queue.Topology, failed func(error) error) error {
	channel, err := c.channel()
	if err != nil {
		return err
	}
	defer func() { c.closeChannel(channel) }()
	// call says whether it was done.
	call := func(what, name string, do func() error) (bool, error) {
		err := c.within(callTimeout, do)
		if err == nil {
			return true, nil
		}
		if err = failed(a.explainDeclaring(what, name, err)); err == nil {
			channel, err = c.channel() // RabbitMQ has closed the other
		}
		return false, err
	}
	types := map[string]queue.ExchangeType{}
	for _, e := range append([]queue.Exchange{{Name: deadLetters, Type: queue.Fanout}}, t.Exchanges...) {
		types[e.Name] = e.Type
		_, err := call("exchange", e.Name, func() error { return channel.ExchangeDeclare(e.Name, string(e.Type), true, false, false, false, nil) })
		if err != nil {
			return err
		}
	}
	queues := append([]queue.Queue{{Name: deadLetters, Bindings: []queue.Binding{{Exchange: deadLetters}}}}, t.Queues...)
	for _, declared := range queues {
		if declared.Exclusive {
			continue
		}
		arguments := queueArguments
		if declared.Name == deadLetters {
			arguments = deadLettersArguments
		}
		made, err := call("queue", declared.Name, func() error {
			_, err := channel.QueueDeclare(declared.Name, true, false, false, false, arguments)
			return err
		})
		if err != nil {
			return err
		}
		if !made {
			continue
		}
		if err := c.bind(channel, declared.Name, declared.Bindings, types); err != nil {
			return err
		}
	}
	return nil
}

// bind binds a queue.
func (c *connection) bind(channel *amqp.Channel, name string, bindings []queue.Binding, types map[string]queue.ExchangeType) error {
	for _, b := range bindings {
		key, arguments := onWireBinding(b, types[b.Exchange])
		if err := c.within(callTimeout, func() error { return channel.QueueBind(name, key, b.Exchange, false, arguments) }); err != nil {
			return fmt.Errorf("bind queue %q to exchange %q in RabbitMQ: %w", name, b.Exchange, err)
		}
	}
	return nil
}

// unbind removes bindings, where they are.
func (c *connection) unbind(stale []bound) error {
	if len(stale) == 0 {
		return nil
	}
	channel, err := c.channel()
	if err != nil {
		return err
	}
	defer c.closeChannel(channel)
	for _, b := range stale {
		key, arguments := onWireBinding(b.binding, b.of)
		if err := c.within(callTimeout, func() error { return channel.QueueUnbind(b.queue, key, b.binding.Exchange, arguments) }); err != nil {
			return fmt.Errorf("unbind queue %q from exchange %q in RabbitMQ: %w", b.queue, b.binding.Exchange, err)
		}
	}
	return nil
}

// bound is a binding of a queue.
type bound struct {
	queue   string
	binding queue.Binding
	of      queue.ExchangeType
}

// left returns the bindings that the ledger has of the declared queues and that
// are no longer declared.
func left(kept, declared queue.Topology) (stale []bound) {
	types := map[string]queue.ExchangeType{}
	for _, e := range kept.Exchanges {
		types[e.Name] = e.Type
	}
	for _, before := range kept.Queues {
		at := slices.IndexFunc(declared.Queues, func(now queue.Queue) bool { return now.Name == before.Name })
		if at < 0 {
			continue
		}
		for _, b := range before.Bindings {
			still := slices.ContainsFunc(declared.Queues[at].Bindings, func(now queue.Binding) bool {
				return now.Exchange == b.Exchange && now.Text() == b.Text()
			})
			if !still {
				stale = append(stale, bound{before.Name, b, types[b.Exchange]})
			}
		}
	}
	return stale
}

// isMissing says whether an error is RabbitMQ's answer that something is not there.
func isMissing(err error) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Code == amqp.NotFound
}
