package live

import (
	"sync"
)

// subscriber is the subscription of one stream or long poll.
type subscriber struct {
	id         uint64
	token, key string
	address    string        // of the client
	release    func()        // frees the subscriber's slot
	coalesce   bool          // see traits
	longPoll   bool          // its own goroutine handles every event
	wake       chan struct{} // capacity 1

	mu        sync.Mutex
	stream    *stream // nil until the stream has started, and for long polls
	enqueued  bool    // the stream is in the delivery queue
	pending   []*frame
	behind    bool   // events may have been missed: replay from the logic tier
	overflow  bool   // pending exceeded its limit
	endReason string // not empty once the logic tier has ended the subscription
}

// updates is what a subscriber's goroutine handles when it wakes.
type updates struct {
	pending   []*frame
	behind    bool
	overflow  bool
	endReason string
}

// newSubscriber returns a subscriber for a session and a client's address.
func (f *Feed) newSubscriber(token, key, address string, longPoll bool) *subscriber {
	return &subscriber{token: token, key: key, address: address, coalesce: f.source.traits().coalesce, longPoll: longPoll, wake: make(chan struct{}, 1)}
}

// push adds an event. It returns the stream if the caller has to enqueue it for
// delivery, or nil.
func (s *subscriber) push(f *frame) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.overflow:
	case s.coalesce && len(s.pending) >= maxCoalesced:
		clear(s.pending)
		s.pending = append(s.pending[:0], f)
	case len(s.pending) < maxPending:
		s.pending = append(s.pending, f)
	default:
		s.overflow, s.pending = true, nil
		s.signal() // the subscriber's goroutine disconnects the browser
	}
	if s.longPoll {
		s.signal()
	}
	if s.overflow || s.enqueued || s.stream == nil {
		return nil
	}
	s.enqueued = true
	return s.stream
}

// markDequeued records that the stream has left the delivery queue.
func (s *subscriber) markDequeued() {
	s.mu.Lock()
	s.enqueued = false
	s.mu.Unlock()
}

// attach makes a stream eligible for delivery.
func (s *subscriber) attach(stream *stream) {
	s.mu.Lock()
	s.stream = stream
	s.mu.Unlock()
}

// takePending returns and clears the pending events. It reports false if the stream's
// goroutine has to act first.
func (s *subscriber) takePending() (frames []*frame, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind || s.overflow || s.endReason != "" {
		return nil, false
	}
	frames, s.pending = s.pending, nil
	return frames, true
}

func (s *subscriber) markBehind() {
	s.mu.Lock()
	s.behind = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) end(reason string) {
	s.mu.Lock()
	s.endReason = reason
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns the updates since its last call. Pending events that come with behind
// followed the gap or are part of the replay; the caller skips those it has delivered.
func (s *subscriber) take() updates {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := updates{s.pending, s.behind, s.overflow, s.endReason}
	s.pending, s.behind = nil, false
	return u
}
