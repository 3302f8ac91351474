package server

import (
	"context"
	"slices"
	"sync"

	"techtalks.example/proto/transport"
)

// passwordQueue admits calls that hash a password. A hash costs as much processor time
// as about a hundred other calls, so these calls queue separately and do not hold the
// slots of others.
//
// The queue serves client addresses in turn (fair queueing), and no address can fill
// it: a client that sends a thousand sign-ins at once delays only itself.
type passwordQueue struct {
	shares *transport.Shares // of the calls queued and running

	mu      sync.Mutex
	idle    int                        // free slots
	waiting map[string][]chan struct{} // by address, oldest call first
	turns   []string                   // addresses with waiting calls, next first
}

// newPasswordQueue returns a queue that runs at most concurrency calls, and holds at
// most capacity calls, queued and running.
func newPasswordQueue(concurrency, capacity int) *passwordQueue {
	return &passwordQueue{shares: transport.NewShares(capacity), idle: concurrency, waiting: map[string][]chan struct{}{}}
}

// acquire waits until a call from address can run. It returns errBusy at once if the
// queue is full. The caller must release afterwards.
func (q *passwordQueue) acquire(ctx context.Context, address string) error {
	if !q.shares.Acquire(address) {
		return errBusy.RetryIn(busyRetryDelay)
	}
	q.mu.Lock()
	if q.idle > 0 {
		q.idle--
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	if len(q.waiting[address]) == 0 {
		q.turns = append(q.turns, address)
	}
	q.waiting[address] = append(q.waiting[address], turn)
	q.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !q.withdraw(address, turn) { // its turn came concurrently
		q.next()
	}
	q.shares.Release(address)
	return ctx.Err()
}

// release frees the slot of a call from address and starts the next call.
func (q *passwordQueue) release(address string) {
	q.next()
	q.shares.Release(address)
}

// next starts the oldest call of the next address.
func (q *passwordQueue) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.idle++
		return
	}
	address := q.turns[0]
	turn := q.waiting[address][0]
	q.remove(address, 0)
	if len(q.waiting[address]) > 0 { // behind the other addresses
		q.turns = append(slices.Delete(q.turns, 0, 1), address)
	}
	close(turn)
}

// withdraw removes a waiting call. It reports false if the call's turn has come.
func (q *passwordQueue) withdraw(address string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting[address], turn)
	if i < 0 {
		return false
	}
	q.remove(address, i)
	return true
}

// remove removes the i-th waiting call of address, and address itself after its last.
func (q *passwordQueue) remove(address string, i int) {
	q.waiting[address] = slices.Delete(q.waiting[address], i, i+1)
	if len(q.waiting[address]) == 0 {
		delete(q.waiting, address)
		i := slices.Index(q.turns, address)
		q.turns = slices.Delete(q.turns, i, i+1)
	}
}
