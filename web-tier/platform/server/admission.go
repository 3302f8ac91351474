package server

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// admission limits how many page requests run concurrently. A request that finds no free
// slot waits in a queue for one.
//
// A short burst is served in order of arrival. When the queue has been standing for
// standingQueueAge, requests arrive faster than they can be served: the newest is then
// served first, and queue waits get shorter. A request that is served has not waited long;
// in order of arrival, every request would wait as long as those that time out. This is
// adaptive LIFO with CoDel's controlled delay (Maurer, "Fail at Scale", ACM Queue 13, 8).
//
// Forms have slots of their own, see admitForm: no page waits for a form.
type admission struct {
	mu        sync.Mutex
	limiter   limiter
	queues    [priorities]list.List // of waiter, the newest at the back
	idleSince time.Time             // when the queues were last empty
	admitted  int                   // waiters admitted since idleSince
}

// priority orders waiting requests: those with a session come before those without, and
// those of an address beyond its share come last, whatever they send. No slot is reserved
// for a priority: one becomes free within a moment, and a limiter that never sees all slots
// in use does not detect an overload.
type priority int

const (
	signedIn priority = iota
	anonymous
	overShare
	priorities
)

// waiter receives, once, whether its request has been admitted. It is buffered, so that
// sending never blocks.
type waiter chan bool

func newAdmission(registry prometheus.Registerer) *admission {
	a := &admission{limiter: newLimiter()}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_room", Help: "Current concurrency limit for page requests."},
			func() float64 { return float64(a.limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "web_waiting", Help: "Page requests that wait for a slot."},
			func() float64 { return float64(a.queueLength()) }))
	return a
}

// acquire takes a slot, waiting for one if necessary. It reports false if none became free
// in time or ctx ended. The caller returns the slot with release.
func (a *admission) acquire(ctx context.Context, p priority) bool {
	a.mu.Lock()
	if a.limiter.acquire() {
		a.markIdle() // release hands slots to waiters first: a free slot means that there are none
		a.mu.Unlock()
		return true
	}
	wait := queueWait
	if a.queueIsStanding() {
		wait = overloadQueueWait
	}
	queue := &a.queues[p]
	w := make(waiter, 1)
	element := queue.PushBack(w)
	if queue.Len() > maxQueueLength {
		queue.Remove(queue.Front()).(waiter) <- false
	}
	a.mu.Unlock()
	timeout := time.NewTimer(wait/2 + rand.N(wait))
	defer timeout.Stop()
	select {
	case ok := <-w:
		return ok
	case <-timeout.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	queue.Remove(element) // no effect if release has removed it
	a.mu.Unlock()
	select {
	case ok := <-w: // admitted or evicted since the timeout
		return ok
	default:
		return false
	}
}

// release returns a slot and admits the next waiter. latency is how long the slot was held;
// 0 when that says nothing about the right limit.
func (a *admission) release(latency time.Duration) {
	a.mu.Lock() // before the slot is free: a new request must not take it from a waiter
	defer a.mu.Unlock()
	a.limiter.release()
	if latency > 0 {
		a.limiter.observe(latency)
	}
	for p := range priorities {
		for queue := &a.queues[p]; queue.Len() > 0; {
			if !a.limiter.acquire() {
				return
			}
			next := queue.Front()
			if a.queueIsStanding() {
				next = queue.Back()
			}
			queue.Remove(next).(waiter) <- true
			a.admitted++
		}
	}
	a.markIdle()
}

// markIdle records that no request waits.
func (a *admission) markIdle() { a.idleSince, a.admitted = time.Now(), 0 }

// queueIsStanding reports whether the queue has not been empty for so long, although
// waiters were admitted, that requests must be arriving faster than they can be served.
func (a *admission) queueIsStanding() bool {
	return time.Since(a.idleSince) >= standingQueueAge && a.admitted >= standingQueueAdmitted
}

// limit returns the current concurrency limit.
func (a *admission) limit() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limiter.current()
}

// queueLength returns the number of requests that wait.
func (a *admission) queueLength() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range priorities {
		n += a.queues[p].Len()
	}
	return n
}
