// Package fairshare bounds how many holders use a resource at once: in total, and for
// each key, such as a session or a client address. One key alone cannot take all slots.
package fairshare

import (
	"errors"
	"sync"
)

var (
	// ErrFull reports that all slots are in use.
	ErrFull = errors.New("all slots are in use")
	// ErrShare reports that one of the caller's keys holds its whole share of the slots.
	ErrShare = errors.New("the caller's share of the slots is in use")
)

// Limiter is a semaphore with a bound in total and a bound for each key. It keeps an
// entry only for keys that hold a slot. It is safe for concurrent use.
type Limiter struct {
	total int

	mu    sync.Mutex
	inUse int
	held  map[string]int
}

// New returns a Limiter of total slots.
func New(total int) *Limiter { return &Limiter{total: total, held: map[string]int{}} }

// Share is how many slots a key may hold. A share without a key is not counted: the
// caller has no such key.
type Share struct {
	Key   string
	Limit int
}

// Acquire takes a slot that counts against every share, without waiting. The error is
// ErrShare or ErrFull. Release gives the slot back; calls after the first do nothing.
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
