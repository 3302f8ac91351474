package transport

import "sync"

// Shares divides a number of slots among holders, so that no holder can take them all: a
// holder gets another slot only while it holds fewer than are free (Choudhury and Hahne,
// "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions
// on Networking 6, 2). A single holder gets half of the slots; the other half stays free for
// others.
//
// Shares is safe for concurrent use.
type Shares struct {
	mu   sync.Mutex
	free int
	held map[string]int
}

// NewShares returns Shares with the given number of slots.
func NewShares(slots int) *Shares {
	return &Shares{free: slots, held: map[string]int{}}
}

// Acquire takes a slot for a holder. It reports false if the holder's share is in use;
// otherwise the caller returns the slot with Release.
func (s *Shares) Acquire(holder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[holder] >= s.free {
		return false
	}
	s.free--
	s.held[holder]++
	return true
}

// Release returns a slot of a holder.
func (s *Shares) Release(holder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[holder]--; s.held[holder] == 0 {
		delete(s.held, holder)
	}
}
