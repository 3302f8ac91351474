package live

import (
	"sync"
)

// reader is one browser's stream, as the upstream sees it.
type reader struct {
	number uint64
	token  string
	wake   chan struct{} // capacity 1: it says "look"

	mu      sync.Mutex
	pending []*frame
	behind  bool // something may have been missed: read from the logic tier
	cut     bool // too slow
	ended   string
}

// news is what a reader finds when it is woken.
type news struct {
	pending []*frame
	behind  bool
	cut     bool
	ended   string
}

func (r *reader) push(f *frame) {
	r.mu.Lock()
	if len(r.pending) >= maxPending {
		r.cut, r.pending = true, nil
	} else if !r.cut {
		r.pending = append(r.pending, f)
	}
	r.mu.Unlock()
	r.look()
}

func (r *reader) fallBehind() {
	r.mu.Lock()
	r.behind = true
	r.mu.Unlock()
	r.look()
}

func (r *reader) end(reason string) {
	r.mu.Lock()
	r.ended = reason
	r.mu.Unlock()
	r.look()
}

func (r *reader) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what there is since it was last called. What is pending beside
// behind came after the gap, or is read again: the reader passes over what it
// has.
func (r *reader) take() news {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := news{r.pending, r.behind, r.cut, r.ended}
	r.pending, r.behind = nil, false
	return n
}
