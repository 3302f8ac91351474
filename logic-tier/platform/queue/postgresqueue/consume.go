package postgresqueue

import (
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

// consumption is one Consume under way. All its leases share one number.
type consumption struct {
	*Queue
	queue.Consumer
	found
	exclusive bool
	number    int64
	member    *ledger.Member
	loseQueue context.CancelFunc

	mu     sync.Mutex
	held   map[int64]context.CancelFunc // leased and not settled
	done   []int64                      // handled, to be acknowledged
	settle chan struct{}                // done is not empty
	room   chan struct{}                // fewer are held
}

// Consume delivers a queue's messages; see queue.Broker.
func (q *Queue) Consume(ctx context.Context, consumer queue.Consumer) error {
	consumer = consumer.WithDefaults()
	member := q.registry.Join(consumer)
	defer q.registry.Leave(member)
	for ctx.Err() == nil {
		c := &consumption{
			Queue: q, Consumer: consumer, number: rand.Int64(), member: member,
			held: map[int64]context.CancelFunc{}, settle: make(chan struct{}, 1), room: make(chan struct{}, 1),
		}
		// Looked up again until it is there: a process may start while the database
		// is away.
		if err := c.find(ctx); err != nil {
			if ctx.Err() == nil {
				q.log.Warn("queue: cannot consume yet", "queue", consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, q.look)
			continue
		}
		c.run(ctx)
	}
	return nil
}

// find finds the queue, or makes the one that is to be this consumer's alone.
func (c *consumption) find(ctx context.Context) (err error) {
	ctx, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	c.Queue.mu.Lock()
	like, exclusive := c.Queue.exclusive[c.Consumer.Queue]
	c.Queue.mu.Unlock()
	if !exclusive {
		c.found, err = findQueue(ctx, c.db, c.Consumer.Queue)
		return err
	}
	c.exclusive, c.deliveryLimit = true, like.WithDefaults().DeliveryLimit
	c.id, err = ledger.CreateExclusive(ctx, c.db, fmt.Sprintf("%s%s%s-%04x", like.Name, exclusiveMark, c.registry.Process, rand.N(1<<16)), like)
	return err
}

// exclusiveMark stands between an exclusive queue's declared name and what tells
// its consumer's from another's.
const exclusiveMark = "@"

// declaredName returns a queue's name as it was declared.
func declaredName(name string) string {
	declared, _, _ := strings.Cut(name, exclusiveMark)
	return declared
}

func (c *consumption) run(ctx context.Context) {
	ctx, c.loseQueue = context.WithCancel(ctx)
	defer c.loseQueue()
	c.Queue.mu.Lock()
	c.consuming[c] = true
	c.Queue.mu.Unlock()

	deliveries := prefetch.New[delivery](c.Prefetch)
	var handlers, background sync.WaitGroup
	for range c.Concurrency {
		handlers.Go(func() {
			for d := range deliveries.InTurn() {
				c.handle(d)
			}
		})
	}
	// Acknowledging and extending go on while handlers drain.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { c.acknowledgeHandled(working) })
	background.Go(func() { c.extendHeld(working) })

	c.fetch(ctx, deliveries)
	deliveries.Close()
	handlers.Wait()
	stop()
	background.Wait()
	c.leave(context.WithoutCancel(ctx))
}

// leave puts back what no handler began, and drops a queue that was this
// consumer's alone.
func (c *consumption) leave(ctx context.Context) {
	c.Queue.mu.Lock()
	delete(c.consuming, c)
	c.Queue.mu.Unlock()
	c.notifier.Unsubscribe(c.id)
	ctx, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	if c.exclusive {
		if err := ledger.DropExclusive(ctx, c.db, c.id); err != nil {
			c.log.Warn("queue: exclusive queue not dropped; it expires", "queue", c.Consumer.Queue, "error", err)
		}
		return
	}
	if ids := c.holding(); len(ids) > 0 {
		if err := putBackUntried(ctx, c.db, c.id, ids, c.number); err != nil {
			c.log.Warn("queue: messages not put back; they return when their lease ends", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
		}
	}
}

// delivery is a message with the context its handler gets.
type delivery struct {
	queue.Delivery
	ctx context.Context
}

// fetch leases messages and hands them to the handlers until ctx ends.
func (c *consumption) fetch(ctx context.Context, to *prefetch.Buffer[delivery]) {
	woken := c.notifier.Subscribe(c.id)
	for more := true; ctx.Err() == nil; {
		free := c.free()
		if !more || free == 0 {
			// What there is to wait for: messages, or room for them.
			room := c.room
			if !more {
				room = nil
			}
			select {
			case <-ctx.Done():
			case <-woken:
				more = true
			case <-room:
			}
			continue
		}
		leasing, done := context.WithTimeout(ctx, statementTimeout)
		batch, err := lease(leasing, c.db, c.id, free, c.number, c.Lease)
		done()
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("queue: cannot fetch; trying again", "queue", c.Consumer.Queue, "error", err)
			}
			notify.Sleep(ctx, c.look)
			continue
		}
		more = len(batch) == free
		// "returning" promises no order.
		slices.SortFunc(batch, func(a, b queue.Delivery) int {
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
		for i := range batch {
			d := &batch[i]
			d.Queue, d.ContentType, d.Priority = c.Consumer.Queue, queue.ContentType, ledger.PriorityOf(d.ID)
			handling, cancel := context.WithCancel(ctx)
			c.hold(d.ID, cancel)
			c.member.CountDelivery(d.Count)
			to.Put(d.Priority, delivery{*d, handling}) // it holds a whole prefetch
		}
	}
}

// free is how many messages to fetch: none while there is little room and every
// handler has work, because big batches are what makes a queue in a database
// fast; and no more than half of what is held at most, so that one half is
// fetched while the other is acknowledged.
func (c *consumption) free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	half := (c.Prefetch + 1) / 2
	free := min(half, c.Prefetch-len(c.held)-len(c.done))
	if 2*free < half && len(c.held) >= c.Concurrency {
		return 0
	}
	return max(0, free)
}

// handle calls the handler and settles the message as its answer says. One that
// no handler had begun when its consumer drains stays held, for leave.
func (c *consumption) handle(d delivery) {
	if d.ctx.Err() != nil {
		return
	}
	err := c.Handle.Call(d.ctx, d.Delivery)
	ended := d.ctx.Err() != nil
	switch {
	case err == nil:
		c.release(d.ID, true)
	case ended:
		// Draining, or the lease was lost: not the message's fault. leave puts back
		// what is still this consumer's.
	case queue.IsRejected(err) || d.Count >= c.deliveryLimit:
		c.bury(d.Delivery, err)
		c.release(d.ID, false)
	default:
		c.back(d.Delivery, err)
		c.release(d.ID, false)
	}
}

func (c *consumption) bury(d queue.Delivery, cause error) {
	c.log.Error("queue: message goes to the dead letters", "queue", d.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "error", cause)
	ctx, done := context.WithTimeout(context.Background(), statementTimeout)
	defer done()
	if err := bury(ctx, c.db, c.id, d, c.number, ledger.NewFailure(c.registry.Host, d, cause)); err != nil {
		c.log.Warn("queue: dead letter not kept; the message comes back", "queue", d.Queue, "message", d.ID, "error", err)
		return
	}
	c.member.CountDead(1)
}

// back puts a message back for a while. When that fails, its lease's end does the
// same.
func (c *consumption) back(d queue.Delivery, cause error) {
	wait := queue.Backoff(d.Count)
	c.log.Warn("queue: message not handled; it is delivered again", "queue", d.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "again_in", wait, "error", cause)
	ctx, done := context.WithTimeout(context.Background(), statementTimeout)
	defer done()
	if err := putBack(ctx, c.db, c.id, d.ID, c.number, wait, ledger.NewFailure(c.registry.Host, d, cause)); err != nil {
		c.log.Warn("queue: message not put back; it returns when its lease ends", "queue", d.Queue, "message", d.ID, "error", err)
	}
}

// acknowledgeHandled deletes what was handled, as many at once as there are:
// while one statement is under way, the next batch gathers.
func (c *consumption) acknowledgeHandled(ctx context.Context) {
	for ending := false; !ending; {
		select {
		case <-ctx.Done():
			ending = true // once more, for what the last handlers left
		case <-c.settle:
		}
		c.mu.Lock()
		ids := c.done
		c.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		acknowledging, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
		err := acknowledge(acknowledging, c.db, c.id, ids, c.number)
		done()
		if err != nil {
			c.log.Warn("queue: not acknowledged; the messages are delivered again", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
		} else {
			c.member.CountAcknowledged(len(ids))
		}
		c.mu.Lock()
		c.done = c.done[len(ids):] // what came meanwhile
		c.mu.Unlock()
		notify.Signal(c.settle)
		c.roomier()
	}
}

// extendHeld says that the messages under way are worked on. A message whose
// lease was lost all the same has its handler's context ended: somebody else
// works it.
func (c *consumption) extendHeld(ctx context.Context) {
	for notify.Sleep(ctx, c.Lease/3) {
		ids := c.holding()
		if len(ids) == 0 {
			continue
		}
		extending, done := context.WithTimeout(ctx, statementTimeout)
		still, err := extend(extending, c.db, c.id, ids, c.number, c.Lease)
		done()
		if err != nil {
			c.log.Warn("queue: leases not extended", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
			continue
		}
		slices.Sort(still)
		for _, id := range ids {
			if _, held := slices.BinarySearch(still, id); !held {
				c.lose(id)
			}
		}
	}
}

// holding returns which messages are leased and not settled.
func (c *consumption) holding() []int64 {
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

// release ends the handler's context and forgets the message, or has it
// acknowledged.
func (c *consumption) release(id int64, handled bool) {
	c.mu.Lock()
	handled = c.forget(id) && handled
	if handled {
		c.done = append(c.done, id)
	}
	c.mu.Unlock()
	if handled {
		notify.Signal(c.settle)
	} else {
		c.roomier()
	}
}

// roomier tells fetch when there is room for a batch again.
func (c *consumption) roomier() {
	if c.free() > 0 {
		notify.Signal(c.room)
	}
}

// lose ends the handler's context: the message is somebody else's.
func (c *consumption) lose(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(id)
}

// forget says whether the message was held. The caller has the lock.
func (c *consumption) forget(id int64) bool {
	cancel, held := c.held[id]
	if held {
		cancel()
		delete(c.held, id)
		c.member.SetHeld(len(c.held))
	}
	return held
}
