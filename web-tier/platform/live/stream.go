package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"techtalks.example/web-tier/platform/server"
)

// Stream sends events to a session as server-sent events, from the cursor in
// Last-Event-ID, or else in the parameter "after", or else from now on.
//
// It answers 401 if the session is invalid, 403 if the session is not allowed to follow
// the resource, 404 if there is no such resource, and 204 if the resource is finished and
// the browser has its last event (WHATWG HTML, 9.2.4). After these an EventSource gives
// up. From any other end of a stream the browser reconnects, after the delay in the last
// "retry:" field.
//
// Over HTTP/1.1 Stream hijacks the connection and returns as soon as the stream has
// started. It must not run inside a request-timeout middleware.
func (f *Feed) Stream(w http.ResponseWriter, request *http.Request, session, key string) {
	if err := f.validate(session, key); err != nil {
		AnswerProblem(w, request, err)
		return
	}
	after := request.Header.Get("Last-Event-ID")
	if after == "" {
		after = request.URL.Query().Get("after")
	}
	out := &response{w, http.NewResponseController(w)}
	s := &stream{out: out, feed: f, requested: sanitizeCursor(after), subscriber: f.newSubscriber(session, key, server.ClientAddress(request), false)}
	if err := f.add(s.subscriber); err != nil {
		out.writeHeader(false)
		s.closeWithRetry(retryDelay(err))
		return
	}
	if err := s.start(request.Context()); err != nil {
		f.remove(s.subscriber)
		s.reject(request, out, err)
		return
	}
	out.writeHeader(request.ProtoMajor == 1)
	if !s.hijack(request, out) {
		s.run(request.Context())
	}
}

// stream is one browser's event stream.
type stream struct {
	out        output
	feed       *Feed
	subscriber *subscriber

	// writing is held while the stream's goroutine or a delivery worker writes. It
	// guards the fields below.
	writing   sync.Mutex
	requested string // the cursor that the browser sent; "" once position comes from a read
	position  cursor // of the last event written
	caughtUp  bool   // the browser lacks only pending events
	hijacked  bool   // delivery workers are allowed to write
	stalled   bool   // a delivery worker's write was cut short
	broken    bool   // the connection has failed
	done      bool   // the final event was written
	unsent    net.Buffers
	deadline  time.Time
}

// closeWithRetry ends a stream and asks the browser to reconnect after delay. A status
// other than 200 would make its EventSource give up.
func (s *stream) closeWithRetry(delay time.Duration) {
	_ = s.writeNow(fmt.Appendf(nil, "retry: %d\n\n", max(delay, time.Second/2).Milliseconds()))
}

// run serves the stream until ctx is done, which follows the browser's connection, or
// the stream ends.
func (s *stream) run(ctx context.Context) {
	defer s.feed.remove(s.subscriber)
	s.subscriber.attach(s)
	// The reconnect delay after a broken connection is random, so that browsers whose
	// connections broke together do not return together.
	if s.writeNow(fmt.Appendf(nil, "retry: %d\n\n", randomBetween(time.Second, 3*time.Second).Milliseconds())) != nil {
		return
	}
	life := time.NewTimer(randomBetween(minStreamLife, maxStreamLife))
	defer life.Stop()
	beat := time.NewTicker(heartbeatInterval)
	defer beat.Stop()
	var retry <-chan time.Time // of a failed replay
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.feed.draining:
			s.closeWithRetry(randomBetween(0, drainSpread))
			return
		case <-life.C:
			s.closeWithRetry(time.Second / 2)
			return
		case <-beat.C:
			if s.writeNow(heartbeat) != nil {
				return
			}
		case <-retry:
			retry = nil
			s.subscriber.markBehind()
		case <-s.subscriber.wake:
			switch err := s.handleUpdates(ctx); {
			case errors.Is(err, errReplayFailed):
				retry = time.After(randomBetween(replayRetryDelay/2, replayRetryDelay))
			case err != nil:
				return
			}
		}
	}
}

var (
	// errReplayFailed: the replay failed and is retried.
	errReplayFailed = errors.New("replay failed")
	// errStreamOver: the stream is over. The browser reconnects, and a permanent
	// rejection is then its answer.
	errStreamOver = errors.New("the stream is over")
)

// handleUpdates does the work that delivery workers leave to the stream's goroutine.
func (s *stream) handleUpdates(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	u := s.subscriber.take()
	if u.endReason != "" || u.overflow || s.broken {
		return errStreamOver
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.stalled = false
	if u.behind {
		s.caughtUp = false
		if err := s.catchUp(ctx); err != nil {
			if ctx.Err() != nil || s.broken || isPermanent(err) {
				return errStreamOver
			}
			return errReplayFailed
		}
		s.caughtUp = true
	}
	if !s.caughtUp {
		return nil // the pending events follow the missing ones: the replay reads them
	}
	s.deliver(u.pending)
	if err := s.flush(); err != nil {
		return err
	}
	if s.done {
		return errStreamOver
	}
	return nil
}

// writeNow writes a field or comment and flushes it.
func (s *stream) writeNow(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.write(b)
	return s.flush()
}

// heartbeat is a comment, which browsers ignore.
var heartbeat = []byte(": heartbeat\n\n")

// catchUp replays the events after the stream's position.
func (s *stream) catchUp(ctx context.Context) error {
	for {
		after := s.requested
		if after == "" && s.position.epoch != "" {
			after = s.position.String()
		}
		p, err := s.feed.replay(ctx, s.subscriber, after)
		if errors.Is(err, errDraining) {
			return nil // run handles it next
		}
		if err != nil {
			return err
		}
		s.addPage(p)
		if err := s.flush(); err != nil || !p.more {
			return err
		}
	}
}

// addPage writes the frames of a page.
func (s *stream) addPage(p page) {
	for _, f := range p.frames {
		s.write(f.bytes)
	}
	s.requested, s.position, s.done = "", p.cursor, s.done || p.done
}

// deliver writes the events after the stream's position.
func (s *stream) deliver(frames []*frame) {
	for _, f := range frames {
		if f.epoch != s.position.epoch {
			// The database was restored, and the position is meaningless in it. The
			// replay sends a reset.
			s.subscriber.markBehind()
			return
		}
		if f.sequence > s.position.sequence {
			s.write(f.bytes)
			s.position, s.done = f.cursor, s.done || f.final
		}
	}
}

// write buffers b for the next flush.
func (s *stream) write(b []byte) { s.unsent = append(s.unsent, b) }

// maxIdleBuffers is the capacity of unsent that a stream keeps between flushes.
const maxIdleBuffers = 4

// flush sends the buffered writes, in one system call if the connection accepts them.
func (s *stream) flush() error {
	if len(s.unsent) == 0 {
		return nil
	}
	if err := s.extendDeadline(); err != nil {
		return err
	}
	err := s.send()
	s.broken = s.broken || err != nil
	return err
}

// send sends unsent. After an error unsent holds the remainder.
func (s *stream) send() error {
	remainder := s.unsent
	if err := s.out.send(&remainder); err != nil {
		s.unsent = remainder
		return err
	}
	if cap(s.unsent) > maxIdleBuffers {
		s.unsent = nil
	} else {
		clear(s.unsent)
		s.unsent = s.unsent[:0]
	}
	return nil
}

// extendDeadline replaces the server's write deadline, which would end every stream,
// with one for the next write. To save system calls it moves the deadline only when
// half of it has passed.
func (s *stream) extendDeadline() error {
	now := time.Now()
	if s.deadline.Sub(now) >= writeTimeout/2 {
		return nil
	}
	s.deadline = now.Add(writeTimeout)
	return s.out.SetWriteDeadline(s.deadline)
}
