package postgresqueue

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/notify"
	"techtalks.example/logic-tier/platform/queue/prefetch"
)

// consumption is one consumer of one queue. All its leases have the same lease id.
type consumption struct {
	*Queue
	queue.Consumer
	queueRow
	exclusive bool
	leaseID   int64
	member    *ledger.Member
	restart   context.CancelFunc // ends run, so that Consume starts again

	mu          sync.Mutex
	held        map[int64]context.CancelFunc // leased and not settled
	handled     []int64                      // to be acknowledged
	hasHandled  chan struct{}                // signals that handled is not empty
	hasCapacity chan struct{}                // signals that batchSize is not zero
}

// Consume delivers a queue's messages; see queue.Broker.
func (q *Queue) Consume(ctx context.Context, consumer queue.Consumer) error {
	consumer = consumer.WithDefaults()
	member := q.registry.Join(consumer)
	defer q.registry.Leave(member)
	for ctx.Err() == nil {
		c := &consumption{
			Queue: q, Consumer: consumer, leaseID: rand.Int64(), member: member,
			held: map[int64]context.CancelFunc{}, hasHandled: make(chan struct{}, 1), hasCapacity: make(chan struct{}, 1),
		}
		// Retried, because a process can start while the database is unavailable.
		if err := c.find(ctx); err != nil {
			if ctx.Err() == nil {
				q.log.Warn("queue: cannot consume; retrying", "queue", consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, q.pollInterval)
			continue
		}
		c.run(ctx)
	}
	return nil
}

// find looks up the queue, or creates this consumer's exclusive queue.
func (c *consumption) find(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	c.Queue.mu.Lock()
	declared, exclusive := c.Queue.exclusive[c.Consumer.Queue]
	c.Queue.mu.Unlock()
	if !exclusive {
		c.queueRow, err = findQueue(ctx, c.db, c.Consumer.Queue)
		return err
	}
	c.exclusive, c.deliveryLimit = true, declared.WithDefaults().DeliveryLimit
	name := fmt.Sprintf("%s%s%s-%04x", declared.Name, exclusiveSeparator, c.registry.Process, rand.N(1<<16))
	c.id, err = ledger.CreateExclusive(ctx, c.db, name, declared)
	return err
}

// exclusiveSeparator separates the declared name of an exclusive queue from the
// suffix that identifies its consumer.
const exclusiveSeparator = "@"

// declaredName returns the declared name of a queue.
func declaredName(name string) string {
	declared, _, _ := strings.Cut(name, exclusiveSeparator)
	return declared
}

func (c *consumption) run(ctx context.Context) {
	ctx, c.restart = context.WithCancel(ctx)
	defer c.restart()
	c.Queue.mu.Lock()
	c.consuming[c] = true
	c.Queue.mu.Unlock()

	deliveries := prefetch.New[delivery](c.Prefetch)
	var handlers, background sync.WaitGroup
	for range c.Concurrency {
		handlers.Go(func() {
			for d := range deliveries.Receive() {
				c.handle(d)
			}
		})
	}
	// Acknowledgements and lease renewals continue while handlers drain.
	backgroundCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { c.acknowledgeHandled(backgroundCtx) })
	background.Go(func() { c.renewLeases(backgroundCtx) })

	c.fetch(ctx, deliveries)
	deliveries.Close()
	handlers.Wait()
	stop()
	background.Wait()
	c.leave(context.WithoutCancel(ctx))
}

// leave returns unstarted messages to the queue, and drops an exclusive queue.
func (c *consumption) leave(ctx context.Context) {
	c.Queue.mu.Lock()
	delete(c.consuming, c)
	c.Queue.mu.Unlock()
	c.notifier.Unsubscribe(c.id)
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if c.exclusive {
		if err := ledger.DropExclusive(ctx, c.db, c.id); err != nil {
			c.log.Warn("queue: cannot drop exclusive queue; it expires", "queue", c.Consumer.Queue, "error", err)
		}
		return
	}
	if ids := c.heldIDs(); len(ids) > 0 {
		if err := putBackUntried(ctx, c.db, c.id, ids, c.leaseID); err != nil {
			c.log.Warn("queue: cannot return messages; they are redelivered when their leases expire", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
		}
	}
}

// delivery is a message with its handler's context.
type delivery struct {
	queue.Delivery
	ctx context.Context
}

// fetch leases messages into the buffer until ctx ends.
func (c *consumption) fetch(ctx context.Context, buffer *prefetch.Buffer[delivery]) {
	notified := c.notifier.Subscribe(c.id)
	for more := true; ctx.Err() == nil; {
		size := c.batchSize()
		if !more || size == 0 {
			// Wait for new messages or, if more are ready, for capacity.
			hasCapacity := c.hasCapacity
			if !more {
				hasCapacity = nil
			}
			select {
			case <-ctx.Done():
			case <-notified:
				more = true
			case <-hasCapacity:
			}
			continue
		}
		leaseCtx, cancelLease := context.WithTimeout(ctx, statementTimeout)
		batch, err := lease(leaseCtx, c.db, c.id, size, c.leaseID, c.Lease)
		cancelLease()
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("queue: cannot fetch messages; retrying", "queue", c.Consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, c.pollInterval)
			continue
		}
		more = len(batch) == size
		// "returning" does not guarantee an order.
		slices.SortFunc(batch, func(a, b queue.Delivery) int { return cmp.Compare(a.ID, b.ID) })
		for i := range batch {
			d := &batch[i]
			d.Queue, d.ContentType, d.Priority = c.Consumer.Queue, queue.ContentType, ledger.PriorityOf(d.ID)
			handlerCtx, cancel := context.WithCancel(ctx)
			c.hold(d.ID, cancel)
			c.member.CountDelivery(d.Count)
			buffer.Put(d.Priority, delivery{*d, handlerCtx}) // does not block: its capacity is Prefetch
		}
	}
}

// batchSize returns how many messages to fetch. Large batches make a queue in a
// database fast, so it returns 0 while the free capacity is small and every handler
// has work. It returns at most half of Prefetch, so that one half is fetched while
// the other is acknowledged.
func (c *consumption) batchSize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	half := (c.Prefetch + 1) / 2
	free := min(half, c.Prefetch-len(c.held)-len(c.handled))
	if 2*free < half && len(c.held) >= c.Concurrency {
		return 0
	}
	return max(0, free)
}

// handle calls the handler and settles the message by its result. A message that no
// handler started before the consumer drained stays held, for leave.
func (c *consumption) handle(d delivery) {
	if d.ctx.Err() != nil {
		return
	}
	err := c.Handle.Call(d.ctx, d.Delivery)
	canceled := d.ctx.Err() != nil
	switch {
	case err == nil:
		c.release(d.ID, true)
	case canceled:
		// The consumer drains or lost the lease, which is no failure of the message.
		// leave returns it to the queue if the lease is still held.
	case queue.IsRejected(err) || d.Count >= c.deliveryLimit:
		c.deadLetter(d.Delivery, err)
		c.release(d.ID, false)
	default:
		c.retry(d.Delivery, err)
		c.release(d.ID, false)
	}
}

func (c *consumption) deadLetter(d queue.Delivery, cause error) {
	c.log.Error("queue: message is dead-lettered", "queue", d.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "error", cause)
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	if err := deadLetter(ctx, c.db, c.id, d, c.leaseID, ledger.NewFailure(c.registry.Host, d, cause)); err != nil {
		c.log.Warn("queue: cannot store dead letter; the message is redelivered", "queue", d.Queue, "message", d.ID, "error", err)
		return
	}
	c.member.CountDead(1)
}

// retry returns a failed message to the queue after a backoff. If that fails, the
// message returns when its lease expires.
func (c *consumption) retry(d queue.Delivery, cause error) {
	backoff := queue.Backoff(d.Count)
	c.log.Warn("queue: handler failed; the message will be redelivered", "queue", d.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "again_in", backoff, "error", cause)
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	if err := putBack(ctx, c.db, c.id, d.ID, c.leaseID, backoff, ledger.NewFailure(c.registry.Host, d, cause)); err != nil {
		c.log.Warn("queue: cannot return message; it is redelivered when its lease expires", "queue", d.Queue, "message", d.ID, "error", err)
	}
}

// acknowledgeHandled deletes handled messages, all that are ready in one statement:
// while it runs, the next batch accumulates.
func (c *consumption) acknowledgeHandled(ctx context.Context) {
	for stopping := false; !stopping; {
		select {
		case <-ctx.Done():
			stopping = true // after the messages of the last handlers
		case <-c.hasHandled:
		}
		c.mu.Lock()
		ids := c.handled
		c.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		acknowledgeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
		err := acknowledge(acknowledgeCtx, c.db, c.id, ids, c.leaseID)
		cancel()
		if err != nil {
			c.log.Warn("queue: cannot acknowledge; the messages are redelivered", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
		} else {
			c.member.CountAcknowledged(len(ids))
		}
		c.mu.Lock()
		c.handled = c.handled[len(ids):] // handlers may have added more
		c.mu.Unlock()
		notify.Signal(c.hasHandled)
		c.signalCapacity()
	}
}

// renewLeases renews the leases of held messages. A message whose lease expired all
// the same may be with another consumer: its handler's context ends.
func (c *consumption) renewLeases(ctx context.Context) {
	for notify.Sleep(ctx, c.Lease/3) {
		ids := c.heldIDs()
		if len(ids) == 0 {
			continue
		}
		renewCtx, cancel := context.WithTimeout(ctx, statementTimeout)
		renewed, err := renew(renewCtx, c.db, c.id, ids, c.leaseID, c.Lease)
		cancel()
		if err != nil {
			c.log.Warn("queue: cannot renew leases", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
			continue
		}
		slices.Sort(renewed)
		for _, id := range ids {
			if _, ok := slices.BinarySearch(renewed, id); !ok {
				c.leaseLost(id)
			}
		}
	}
}

// heldIDs returns the ids of the messages that are leased and not settled.
func (c *consumption) heldIDs() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]int64, 0, len(c.held))
	for id := range c.held {
		ids = append(ids, id)
	}
	return ids
}

func (c *consumption) hold(id int64, cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[id] = cancel
	c.member.SetHeld(len(c.held))
}

// release stops holding a message, and queues it for acknowledgement if it was
// handled.
func (c *consumption) release(id int64, handled bool) {
	c.mu.Lock()
	handled = c.removeHeld(id) && handled
	if handled {
		c.handled = append(c.handled, id)
	}
	c.mu.Unlock()
	if handled {
		notify.Signal(c.hasHandled)
	} else {
		c.signalCapacity()
	}
}

// signalCapacity signals fetch if there is capacity for a batch.
func (c *consumption) signalCapacity() {
	if c.batchSize() > 0 {
		notify.Signal(c.hasCapacity)
	}
}

// leaseLost cancels the handler of a message whose lease expired.
func (c *consumption) leaseLost(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeHeld(id)
}

// removeHeld cancels the handler's context and reports whether the message was held.
// The caller holds c.mu.
func (c *consumption) removeHeld(id int64) bool {
	cancel, ok := c.held[id]
	if ok {
		cancel()
		delete(c.held, id)
		c.member.SetHeld(len(c.held))
	}
	return ok
}
