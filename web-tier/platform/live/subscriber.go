package live

import (
	"sync"
)

// reader is one browser's stream or long poll, as the upstream sees it.
type reader struct {
	number     uint64
	token, key string
	address    string        // of the client
	release    func()        // gives the reader's slot back
	whole      bool          // see traits
	waits      bool          // it is a long poll: its own goroutine looks at all there is
	wake       chan struct{} // capacity 1: it says "look"

	mu      sync.Mutex
	stream  *stream // nil until it has begun
	listed  bool    // it stands in the line for delivery
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

// newReader returns a reader of what a session follows, from a client's address.
func (f *Feed) newReader(token, key, address string, waits bool) *reader {
	return &reader{token: token, key: key, address: address, whole: f.source.traits().whole, waits: waits, wake: make(chan struct{}, 1)}
}

// push adds an event. It returns the stream when that has to be put in the line
// for delivery: when it is not there already.
func (r *reader) push(f *frame) *stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cut:
	case r.whole && len(r.pending) >= maxLatest:
		clear(r.pending)
		r.pending = append(r.pending[:0], f)
	case len(r.pending) < maxPending:
		r.pending = append(r.pending, f)
	default:
		r.cut, r.pending = true, nil
		r.look() // its goroutine ends it
	}
	if r.waits {
		r.look()
	}
	if r.cut || r.listed || r.stream == nil {
		return nil
	}
	r.listed = true
	return r.stream
}

// unlist says that the stream left the line.
func (r *reader) unlist() {
	r.mu.Lock()
	r.listed = false
	r.mu.Unlock()
}

// begun says that the stream can be written to from now on.
func (r *reader) begun(s *stream) {
	r.mu.Lock()
	r.stream = s
	r.mu.Unlock()
}

// takePending returns what is pending; false when there is more to know, which
// the stream's goroutine has to look at.
func (r *reader) takePending() (frames []*frame, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.behind || r.cut || r.ended != "" {
		return nil, false
	}
	frames, r.pending = r.pending, nil
	return frames, true
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
