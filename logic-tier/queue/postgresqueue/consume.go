package postgresqueue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"techtalks.example/logic-tier/queue"
	"techtalks.example/proto/transport"
)

// maxErrorText bounds what is kept of a handler's error.
const maxErrorText = 2000

// consumption is one Consume under way. All its leases share one number.
type consumption struct {
	*Queue
	queue.Consumer
	found
	number int64

	mu     sync.Mutex
	held   map[int64]context.CancelFunc // leased and not settled
	done   []int64                      // handled, to be acknowledged
	settle chan struct{}                // done is not empty
}

// Consume delivers the queue's messages to c.Handle until ctx ends; then it
// takes no more, waits for the handlers under way, whose context has ended,
// and puts back what they did not finish. It survives a database that is away.
func (q *Queue) Consume(ctx context.Context, consumer queue.Consumer) error {
	c := &consumption{
		Queue: q, Consumer: consumer.WithDefaults(), number: rand.Int64(),
		held: map[int64]context.CancelFunc{}, settle: make(chan struct{}, 1),
	}
	// Looked up again until it is there: a process may start while the database
	// is away.
	for {
		finding, done := context.WithTimeout(ctx, statementTimeout)
		f, err := findQueue(finding, q.db, c.Consumer.Queue)
		done()
		if err == nil {
			c.found = f
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		q.log.Warn("queue: cannot consume yet", "queue", consumer.Queue, "error", err)
		if !pause(ctx, q.look) {
			return nil
		}
	}
	return c.run(ctx)
}

func (c *consumption) run(ctx context.Context) error {
	deliveries := make(chan delivery)
	var handlers, background sync.WaitGroup
	for range c.Concurrency {
		handlers.Go(func() {
			for d := range deliveries {
				c.handle(d)
			}
		})
	}
	// Acknowledging and extending go on while handlers drain.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { c.acknowledgeHandled(working) })
	background.Go(func() { c.extendHeld(working) })

	c.fetch(ctx, deliveries)
	close(deliveries)
	handlers.Wait()
	stop()
	background.Wait()
	return nil
}

// delivery is a message with the context its handler gets.
type delivery struct {
	queue.Delivery
	ctx context.Context
}

// fetch leases messages and hands them to the handlers until ctx ends.
func (c *consumption) fetch(ctx context.Context, to chan<- delivery) {
	woken := c.wake(c.id)
	for ctx.Err() == nil {
		free := c.Prefetch - c.holding()
		var batch []queue.Delivery
		if free > 0 {
			var err error
			leasing, done := context.WithTimeout(ctx, statementTimeout)
			batch, err = lease(leasing, c.db, c.id, free, c.number, c.Lease)
			done()
			if err != nil && ctx.Err() == nil {
				c.log.Warn("queue: cannot fetch; trying again", "queue", c.Consumer.Queue, "error", err)
				pause(ctx, c.look)
				continue
			}
		}
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-woken:
			case <-time.After(c.look):
			}
			continue
		}
		// "returning" promises no order.
		slices.SortFunc(batch, func(a, b queue.Delivery) int { return int(a.ID - b.ID) })
		for i, d := range batch {
			handling, cancel := context.WithCancel(ctx)
			if trace, ok := transport.ParseTrace(d.Traceparent); ok {
				handling = transport.WithTrace(handling, trace.Child())
			}
			c.hold(d.ID, cancel)
			select {
			case to <- delivery{d, handling}:
			case <-ctx.Done():
				for _, left := range batch[i:] {
					c.release(left.ID)
					c.back(left, 0, "", 1)
				}
				return
			}
		}
	}
}

// handle calls the handler and settles the message as its answer says.
func (c *consumption) handle(d delivery) {
	err := c.call(d)
	ended := d.ctx.Err() != nil
	c.release(d.ID)
	switch {
	case err == nil:
		c.mu.Lock()
		c.done = append(c.done, d.ID)
		c.mu.Unlock()
		select {
		case c.settle <- struct{}{}:
		default:
		}
	case ended:
		// Draining, or the lease was lost: not the message's fault.
		c.back(d.Delivery, 0, "", 1)
	case queue.Rejected(err) || d.Count >= c.deliveryLimit:
		c.log.Error("queue: message goes to the dead letters", "queue", c.Consumer.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "error", err)
		ctx, done := context.WithTimeout(context.Background(), statementTimeout)
		defer done()
		if err := bury(ctx, c.db, c.id, d.ID, c.number, clip(err)); err != nil {
			c.log.Warn("queue: dead letter not kept; the message comes back", "queue", c.Consumer.Queue, "message", d.ID, "error", err)
		}
	default:
		wait := queue.Backoff(d.Count)
		c.log.Warn("queue: message not handled; it is delivered again", "queue", c.Consumer.Queue, "message", d.ID, "type", d.Type, "deliveries", d.Count, "again_in", wait, "error", err)
		c.back(d.Delivery, wait, clip(err), 0)
	}
}

// call runs the handler; its panic is an error of this message alone.
func (c *consumption) call(d delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return c.Handle(d.ctx, d.Delivery)
}

// back puts a message back. When that fails, its lease's end does the same.
func (c *consumption) back(d queue.Delivery, after time.Duration, why string, untried int) {
	ctx, done := context.WithTimeout(context.Background(), statementTimeout)
	defer done()
	if err := putBack(ctx, c.db, c.id, d.ID, c.number, after, why, untried); err != nil {
		c.log.Warn("queue: message not put back; it returns when its lease ends", "queue", c.Consumer.Queue, "message", d.ID, "error", err)
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
		c.done = nil
		c.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		acknowledging, done := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
		err := acknowledge(acknowledging, c.db, c.id, ids, c.number)
		done()
		if err != nil {
			c.log.Warn("queue: not acknowledged; the messages are delivered again", "queue", c.Consumer.Queue, "messages", len(ids), "error", err)
		}
		c.wakeConsumers(c.id) // there is room for more
	}
}

// extendHeld says that the messages under way are worked on. A message whose
// lease was lost all the same has its handler's context ended: somebody else
// works it.
func (c *consumption) extendHeld(ctx context.Context) {
	for pause(ctx, c.Lease/3) {
		c.mu.Lock()
		ids := make([]int64, 0, len(c.held))
		for id := range c.held {
			ids = append(ids, id)
		}
		c.mu.Unlock()
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

func (c *consumption) holding() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held) + len(c.done)
}

func (c *consumption) hold(id int64, cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[id] = cancel
}

// release ends the handler's context and forgets the message.
func (c *consumption) release(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.held[id]; cancel != nil {
		cancel()
	}
	delete(c.held, id)
}

// lose ends the handler's context; the message is forgotten when it returns.
func (c *consumption) lose(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.held[id]; cancel != nil {
		cancel()
	}
}

func clip(err error) string {
	text := err.Error()
	// Postgres stores neither half a character nor NUL.
	text = strings.ToValidUTF8(text[:min(len(text), maxErrorText)], "")
	return strings.ReplaceAll(text, "\x00", "")
}

func pause(ctx context.Context, length time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(length):
		return true
	}
}

var _ queue.Publisher = (*Queue)(nil)
