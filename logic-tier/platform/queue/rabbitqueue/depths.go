package rabbitqueue

import (
	"context"
	"strings"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// Depths says how much waits; see queue.Broker. RabbitMQ says what is ready, the
// outbox what is delayed or due and not shipped yet, the registry what is with
// consumers. Of exclusive queues what is ready is known for this process alone:
// RabbitMQ tells nobody else. When the oldest message was published is known of the
// outbox alone.
func (q *Queue) Depths(ctx context.Context) (map[string]queue.Depth, error) {
	c, err := q.link.connected()
	if err != nil {
		return nil, err
	}
	all := map[string]queue.Depth{}
	add := func(name string, d queue.Depth) {
		sum := all[name]
		sum.Ready += d.Ready
		sum.Delayed += d.Delayed
		sum.Unacknowledged += d.Unacknowledged
		if d.Ready+d.Delayed > 0 && !d.Oldest.IsZero() && (sum.Oldest.IsZero() || d.Oldest.Before(sum.Oldest)) {
			sum.Oldest = d.Oldest
		}
		all[name] = sum
	}
	inOutbox, err := depths(ctx, q.db)
	if err != nil {
		return nil, err
	}
	for _, d := range inOutbox {
		add(declaredName(d.name), d.Depth)
	}
	consumers, err := ledger.Consumers(ctx, q.db)
	if err != nil {
		return nil, err
	}
	for _, other := range consumers {
		if other.Process != q.registry.Process && !strings.HasPrefix(other.Process, q.registry.Process+"-") {
			add(other.Queue, queue.Depth{Unacknowledged: int64(other.Held)})
		}
	}
	known, err := q.kept(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(known.Queues))
	for _, known := range known.Queues {
		names = append(names, known.Name)
	}
	for _, own := range q.consumptions() {
		add(own.Consumer.Queue, queue.Depth{Unacknowledged: own.holding.Load()})
		if name := own.queueName(); name != own.Consumer.Queue {
			names = append(names, name)
		}
	}
	ready, err := q.ready(ctx, c, names)
	if err != nil {
		return nil, err
	}
	for name, n := range ready {
		add(declaredName(name), queue.Depth{Ready: n})
	}
	return all, nil
}

// declaredName returns a queue's name as it was declared.
func declaredName(name string) string {
	declared, _, _ := strings.Cut(name, exclusiveMark)
	return declared
}

func (q *Queue) consumptions() (all []*consumption) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.consuming {
		all = append(all, c)
	}
	return all
}

// ready asks RabbitMQ how many messages of each queue are with nobody, in its turn.
func (q *Queue) ready(ctx context.Context, c *connection, names []string) (found map[string]int64, err error) {
	select {
	case q.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answered := make(chan struct{})
	go func() {
		found, err = c.ready(names)
		<-q.asking
		close(answered)
	}()
	select {
	case <-answered:
		return found, err
	case <-ctx.Done(): // who asks gives up, and no consumer its connection
		return nil, ctx.Err()
	}
}

func (c *connection) ready(names []string) (map[string]int64, error) {
	channel, err := c.channel()
	if err != nil {
		return nil, err
	}
	defer func() { c.closeChannel(channel) }()
	found := map[string]int64{}
	for _, name := range names {
		err := c.within(callTimeout, func() error {
			state, err := channel.QueueDeclarePassive(name, false, false, false, false, nil)
			if err == nil {
				found[name] = int64(state.Messages)
			}
			return err
		})
		switch {
		case isMissing(err): // RabbitMQ has closed the channel
			next, err := c.channel()
			if err != nil {
				return nil, err
			}
			channel = next
		case err != nil:
			return nil, err
		}
	}
	return found, nil
}
