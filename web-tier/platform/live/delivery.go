package live

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// delivery writes pending events to streams with a small pool of workers.
//
// If each event woke the goroutine of every stream instead, ten thousand goroutines
// would queue for a core, with the one that reads from the logic tier among them. It
// would read the second event only after the first was written to everyone. With the
// pool, events that arrive meanwhile accumulate in the streams' pending lists, and
// one write sends them all.
//
// The queue needs no limit of its own: it holds each stream at most once.
type delivery struct {
	mu    sync.Mutex
	queue []*stream
	wake  chan struct{} // capacity 1
}

func newDelivery() *delivery { return &delivery{wake: make(chan struct{}, 1)} }

// enqueue schedules streams for delivery.
func (d *delivery) enqueue(streams []*stream) {
	if len(streams) == 0 {
		return
	}
	d.mu.Lock()
	d.queue = append(d.queue, streams...)
	d.mu.Unlock()
	d.signal()
}

func (d *delivery) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// deliveryBatch is the number of streams that a worker dequeues at a time.
const deliveryBatch = 64

func (d *delivery) dequeue(batch []*stream) []*stream {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(deliveryBatch, len(d.queue))
	batch = append(batch, d.queue[:n]...)
	clear(d.queue[:n])
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil
	} else {
		d.signal() // wakes the next worker
	}
	return batch
}

func (d *delivery) runWorker(ctx context.Context) {
	var batch []*stream
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		batch = d.dequeue(batch[:0])
		for i, s := range batch {
			s.tryDeliver()
			batch[i] = nil
		}
	}
}

// tryDeliver writes the pending events if the browser's connection accepts them at
// once. It leaves a browser that is behind or slow to the stream's own goroutine.
func (s *stream) tryDeliver() {
	s.subscriber.markDequeued()
	if !s.writing.TryLock() {
		s.subscriber.signal() // the stream's goroutine is writing and checks again afterwards
		return
	}
	defer s.writing.Unlock()
	if !s.hijacked || !s.caughtUp || s.stalled || s.broken {
		s.subscriber.signal()
		return
	}
	frames, ok := s.subscriber.takePending()
	if !ok {
		s.subscriber.signal()
		return
	}
	s.deliver(frames)
	if s.done {
		defer s.subscriber.signal() // the stream's goroutine closes it
	}
	if len(s.unsent) == 0 {
		return
	}
	s.deadline = time.Time{} // replaces the deadline of extendDeadline
	err := s.out.SetWriteDeadline(time.Now().Add(workerWriteTimeout))
	if err == nil {
		err = s.send()
	}
	if err != nil {
		s.stalled = errors.Is(err, os.ErrDeadlineExceeded)
		s.broken = !s.stalled
		s.subscriber.signal()
	}
}
