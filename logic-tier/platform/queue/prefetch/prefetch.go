// Package prefetch holds what a consumer has fetched and no handler has begun,
// and hands it to the handlers in turn: the highest priority first, and within
// one in the order of arrival. So an urgent message passes those that were
// fetched before it.
package prefetch

import (
	"iter"
	"sync"

	"techtalks.example/logic-tier/platform/queue"
)

// Buffer is for one that puts and any number that take.
type Buffer[T any] struct {
	arrived chan struct{} // an entry for each that waits

	mu      sync.Mutex
	waiting [queue.MaxPriority + 1][]T
}

// New returns a buffer that never holds more than so many: whoever puts waits at
// that bound.
func New[T any](capacity int) *Buffer[T] {
	return &Buffer[T]{arrived: make(chan struct{}, capacity)}
}

// Put adds one of a priority from 0 to queue.MaxPriority.
func (b *Buffer[T]) Put(priority int, one T) {
	b.mu.Lock()
	b.waiting[priority] = append(b.waiting[priority], one)
	b.mu.Unlock()
	b.arrived <- struct{}{}
}

// Close says that no more come.
func (b *Buffer[T]) Close() { close(b.arrived) }

// InTurn yields what comes, each to one of those that range over it, until the
// buffer is closed and empty.
func (b *Buffer[T]) InTurn() iter.Seq[T] {
	return func(yield func(T) bool) {
		for range b.arrived {
			if !yield(b.next()) {
				return
			}
		}
	}
}

func (b *Buffer[T]) next() (one T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := queue.MaxPriority; p >= 0; p-- {
		if waiting := b.waiting[p]; len(waiting) > 0 {
			one, waiting[0] = waiting[0], one // let go of it
			b.waiting[p] = waiting[1:]
			return one
		}
	}
	return one
}
