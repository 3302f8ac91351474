package live

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// delivery writes to the browsers that have news: a few workers, one after the
// other. Were each stream's own goroutine woken instead, ten thousand of them
// would stand in line for a core, the one that reads from the logic tier in
// their midst; it would see the second event only when the first is written to
// everybody. As it is, what arrives meanwhile waits in the browsers' queues,
// and one write takes it all.
//
// The line has no bound of its own: nobody stands in it twice.
type delivery struct {
	mu      sync.Mutex
	waiting []*stream
	there   chan struct{} // capacity 1: it says "look"
}

func newDelivery() *delivery { return &delivery{there: make(chan struct{}, 1)} }

// add has streams written to soon.
func (d *delivery) add(streams []*stream) {
	if len(streams) == 0 {
		return
	}
	d.mu.Lock()
	d.waiting = append(d.waiting, streams...)
	d.mu.Unlock()
	d.look()
}

func (d *delivery) look() {
	select {
	case d.there <- struct{}{}:
	default:
	}
}

// deliveryBatch is how many streams a worker takes at a time.
const deliveryBatch = 64

func (d *delivery) take(into []*stream) []*stream {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(deliveryBatch, len(d.waiting))
	into = append(into, d.waiting[:n]...)
	clear(d.waiting[:n])
	if d.waiting = d.waiting[n:]; len(d.waiting) == 0 {
		d.waiting = nil
	} else {
		d.look() // for the next worker
	}
	return into
}

func (d *delivery) work(ctx context.Context) {
	var batch []*stream
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.there:
		}
		batch = d.take(batch[:0])
		for i, s := range batch {
			s.deliverQuickly()
			batch[i] = nil
		}
	}
}

// deliverQuickly writes what is pending to a browser that takes it at once. All
// else is left to the stream's own goroutine: a browser that has something to
// catch up with, or takes nothing.
func (s *stream) deliverQuickly() {
	s.reader.unlist()
	if !s.writing.TryLock() {
		s.reader.look() // its goroutine writes; it looks again after that
		return
	}
	defer s.writing.Unlock()
	if !s.quick || !s.caughtUp || s.stuck || s.broken {
		s.reader.look()
		return
	}
	frames, all := s.reader.takePending()
	if !all {
		s.reader.look()
		return
	}
	s.deliver(frames)
	if s.over {
		defer s.reader.look() // its goroutine ends it
	}
	if len(s.unsent) == 0 {
		return
	}
	s.deadline = time.Time{} // not that of extend any more
	err := s.out.SetWriteDeadline(time.Now().Add(quickly))
	if err == nil {
		err = s.send()
	}
	if err != nil {
		s.stuck = errors.Is(err, os.ErrDeadlineExceeded)
		s.broken = !s.stuck
		s.reader.look()
	}
}
