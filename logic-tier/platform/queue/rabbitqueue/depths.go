package rabbitqueue

import (
	"context"
	"strings"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// Depths returns the depth of each queue; see queue.Broker. It takes ready messages
// from RabbitMQ, delayed and unshipped ones from the outbox, and unacknowledged ones
// from the registry. It knows the ready messages of this process's exclusive queues
// only, because RabbitMQ does not report them to other connections, and the age of
// messages in the outbox only.
func (q *Queue) Depths(ctx context.Context) (map[string]queue.Depth, error) {
	c, err := q.consumerConnection.get()
	if err != nil {
		return nil, err
	}
	sums := map[string]queue.Depth{}
	add := func(name string, d queue.Depth) {
		sum := sums[name]
		sum.Ready += d.Ready
		sum.Delayed += d.Delayed
		sum.Unacknowledged += d.Unacknowledged
		if d.Ready+d.Delayed > 0 && !d.Oldest.IsZero() && (sum.Oldest.IsZero() || d.Oldest.Before(sum.Oldest)) {
			sum.Oldest = d.Oldest
		}
		sums[name] = sum
	}
	unshipped, err := outboxDepths(ctx, q.db)
	if err != nil {
		return nil, err
	}
	for _, d := range unshipped {
		add(declaredName(d.queue), d.Depth)
	}
	consumers, err := ledger.Consumers(ctx, q.db)
	if err != nil {
		return nil, err
	}
	for _, c := range consumers {
		if c.Process != q.registry.Process && !strings.HasPrefix(c.Process, q.registry.Process+"-") {
			add(c.Queue, queue.Depth{Unacknowledged: int64(c.Held)})
		}
	}
	stored, err := q.ledgerTopology(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(stored.Queues))
	for _, stored := range stored.Queues {
		names = append(names, stored.Name)
	}
	for _, s := range q.listSubscriptions() {
		add(s.Consumer.Queue, queue.Depth{Unacknowledged: s.unacknowledged.Load()})
		if name := s.queueName(); name != s.Consumer.Queue {
			names = append(names, name)
		}
	}
	ready, err := q.readyCounts(ctx, c, names)
	if err != nil {
		return nil, err
	}
	for name, n := range ready {
		add(declaredName(name), queue.Depth{Ready: n})
	}
	return sums, nil
}

// declaredName returns the declared name of a queue in RabbitMQ.
func declaredName(name string) string {
	declared, _, _ := strings.Cut(name, exclusiveSeparator)
	return declared
}

func (q *Queue) listSubscriptions() (all []*subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.subscriptions {
		all = append(all, s)
	}
	return all
}

// readyCounts returns the number of ready messages of each queue in RabbitMQ. One
// query runs at a time. When ctx ends, readyCounts returns, and the query completes
// in the background: interrupting it would close the consumers' connection.
func (q *Queue) readyCounts(ctx context.Context, c *connection, names []string) (counts map[string]int64, err error) {
	select {
	case q.depthsQuery <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answered := make(chan struct{})
	go func() {
		counts, err = c.readyCounts(names)
		<-q.depthsQuery
		close(answered)
	}()
	select {
	case <-answered:
		return counts, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *connection) readyCounts(names []string) (map[string]int64, error) {
	channel, err := c.channel()
	if err != nil {
		return nil, err
	}
	defer func() { c.closeChannel(channel) }()
	counts := map[string]int64{}
	for _, name := range names {
		err := c.within(callTimeout, func() error {
			status, err := channel.QueueDeclarePassive(name, false, false, false, false, nil)
			if err == nil {
				counts[name] = int64(status.Messages)
			}
			return err
		})
		switch {
		case isNotFound(err): // RabbitMQ has closed the channel
			next, err := c.channel()
			if err != nil {
				return nil, err
			}
			channel = next
		case err != nil:
			return nil, err
		}
	}
	return counts, nil
}
