package server

import (
	"context"
	"slices"
	"sync"

	"techtalks.example/proto/transport"
)

// passwordQueue admits the calls that hash a password, apart from all others: a
// hash costs as much processor time as some hundred other calls, so these calls
// wait for each other, and must not hold the slots of calls that could run
// meanwhile.
//
// Client addresses take turns (fair queueing), and no address can fill the queue:
// whoever signs in a thousand times at once waits behind themselves.
type passwordQueue struct {
	shares *transport.Shares // of the calls that wait or run

	mu      sync.Mutex
	idle    int                        // how many more calls can run
	waiting map[string][]chan struct{} // by address, the oldest call first
	turns   []string                   // the addresses with waiting calls, the next first
}

func newPasswordQueue(running, places int) *passwordQueue {
	return &passwordQueue{shares: transport.NewShares(places), idle: running, waiting: map[string][]chan struct{}{}}
}

// acquire waits until a call from an address can run, and fails at once when
// there is no place left in the queue. The call ends with release.
func (q *passwordQueue) acquire(ctx context.Context, address string) error {
	if !q.shares.Acquire(address) {
		return errFull.RetryIn(retryWhenFull)
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
	if !q.withdraw(address, turn) { // its turn came at the same moment
		q.next()
	}
	q.shares.Release(address)
	return ctx.Err()
}

// release ends a call from an address, and lets the next one run.
func (q *passwordQueue) release(address string) {
	q.next()
	q.shares.Release(address)
}

// next lets the oldest call of the next address run.
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

// withdraw removes a waiting call. It reports false when the call's turn has come.
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

// remove removes the i-th waiting call of an address, and the address with its last.
func (q *passwordQueue) remove(address string, i int) {
	q.waiting[address] = slices.Delete(q.waiting[address], i, i+1)
	if len(q.waiting[address]) == 0 {
		delete(q.waiting, address)
		i := slices.Index(q.turns, address)
		q.turns = slices.Delete(q.turns, i, i+1)
	}
}
