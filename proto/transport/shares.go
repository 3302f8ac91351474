package transport

import "sync"

// Shares divides a number of places among those who ask for them, so that no
// one holder can take them all: a holder gets another place only while it holds
// fewer than are free (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
// Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6, 2).
// Alone, a holder gets half of the places; the other half waits for others.
//
// Shares is safe for concurrent use.
type Shares struct {
	mu   sync.Mutex
	free int
	held map[string]int
}

// NewShares returns the given number of places, all of them free.
func NewShares(places int) *Shares {
	return &Shares{free: places, held: map[string]int{}}
}

// Acquire takes a place for a holder. It reports false when none is left for it;
// otherwise the holder returns the place with Release.
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

// Release returns a holder's place.
func (s *Shares) Release(holder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[holder]--; s.held[holder] == 0 {
		delete(s.held, holder)
	}
}
