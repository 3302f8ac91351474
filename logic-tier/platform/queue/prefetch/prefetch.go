// Package prefetch buffers the messages that a consumer has fetched until a handler
// starts them: highest priority first, then in the order of arrival. An urgent
// message overtakes those that were fetched before it.
package prefetch

import (
	"iter"
	"sync"

	"techtalks.example/logic-tier/platform/queue"
)

// Buffer is a priority queue with one producer and any number of receivers.
type Buffer[T any] struct {
	arrived chan struct{} // one entry for each waiting message

	mu      sync.Mutex
	waiting [queue.MaxPriority + 1][]T // by priority
}

// New returns a buffer in which Put blocks while capacity messages are waiting.
func New[T any](capacity int) *Buffer[T] {
	return &Buffer[T]{arrived: make(chan struct{}, capacity)}
}

// Put adds a message with a priority from 0 to queue.MaxPriority.
func (b *Buffer[T]) Put(priority int, message T) {
	b.mu.Lock()
	b.waiting[priority] = append(b.waiting[priority], message)
	b.mu.Unlock()
	b.arrived <- struct{}{}
}

// Close ends the iterations of Receive after the last message.
func (b *Buffer[T]) Close() { close(b.arrived) }

// Receive returns an iterator that removes messages from the buffer, and waits for
// them, until the buffer is closed and empty. Each message goes to one of the
// concurrent iterations.
func (b *Buffer[T]) Receive() iter.Seq[T] {
	return func(yield func(T) bool) {
		for range b.arrived {
			if !yield(b.next()) {
				return
			}
		}
	}
}

func (b *Buffer[T]) next() T {
	b.mu.Lock()
	defer b.mu.Unlock()
	var zero T
	for p := queue.MaxPriority; p >= 0; p-- {
		if waiting := b.waiting[p]; len(waiting) > 0 {
			message := waiting[0]
			waiting[0] = zero // for the garbage collector
			b.waiting[p] = waiting[1:]
			return message
		}
	}
	return zero
}
