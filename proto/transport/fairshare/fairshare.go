// Package fairshare limits the concurrent use of a resource, in total and per key, such as a
// session or a client address. No single key can take all slots.
package fairshare

import (
	"errors"
	"sync"
)

var (
	// ErrFull reports that all slots are in use.
	ErrFull = errors.New("all slots are in use")
	// ErrShare reports that one of the caller's keys already holds its share of the slots.
	ErrShare = errors.New("the caller's share of the slots is in use")
)

// Limiter is a semaphore with a total limit and a limit per key. It keeps an entry only for
// keys that hold a slot. It is safe for concurrent use.
type Limiter struct {
	total int

	mu    sync.Mutex
	inUse int
	held  map[string]int
}

// New returns a Limiter with the given number of slots.
func New(total int) *Limiter { return &Limiter{total: total, held: map[string]int{}} }

// Share is the number of slots that a key can hold. A Share with an empty key is ignored.
type Share struct {
	Key   string
	Limit int
}

// Acquire takes a slot that counts against every share, without waiting. The error is
// ErrShare or ErrFull. release returns the slot; further calls do nothing.
func (l *Limiter) Acquire(shares ...Share) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range shares {
		if s.Key != "" && l.held[s.Key] >= s.Limit {
			return nil, ErrShare
		}
	}
	if l.inUse >= l.total {
		return nil, ErrFull
	}
	l.inUse++
	for _, s := range shares {
		if s.Key != "" {
			l.held[s.Key]++
		}
	}
	return sync.OnceFunc(func() { l.release(shares) }), nil
}

func (l *Limiter) release(shares []Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inUse--
	for _, s := range shares {
		if s.Key == "" {
			continue
		}
		if l.held[s.Key]--; l.held[s.Key] == 0 {
			delete(l.held, s.Key)
		}
	}
}

// InUse returns the number of slots in use.
func (l *Limiter) InUse() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inUse
}
