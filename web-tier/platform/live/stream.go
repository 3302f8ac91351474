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

// Stream answers with what a session follows, as server-sent events, from the
// cursor in Last-Event-ID, or else in the parameter "after", or else from now on.
//
// It answers 401 when the session is not valid, 403 when it may not follow this,
// 404 when there is no such thing to follow, and 204 when it has ended and the
// browser has all of it (WHATWG HTML, 9.2.4): an EventSource then gives up. Every
// other end of a stream is one that the browser comes back from, after the pause
// that "retry:" told it. Over HTTP/1.1 it returns as soon as the stream has begun,
// having taken the connection over: see takeOver. It must not run inside a
// request-timeout middleware.
func (f *Feed) Stream(w http.ResponseWriter, request *http.Request, session, key string) {
	if err := f.unaskable(session, key); err != nil {
		AnswerProblem(w, request, err)
		return
	}
	after := request.Header.Get("Last-Event-ID")
	if after == "" {
		after = request.URL.Query().Get("after")
	}
	answer := &response{w, http.NewResponseController(w)}
	s := &stream{out: answer, feed: f, after: sendable(after), reader: f.newReader(session, key, server.ClientAddress(request), false)}
	if err := f.add(s.reader); err != nil {
		answer.head(false)
		s.sendAway(comeBack(err))
		return
	}
	if err := s.begin(request.Context()); err != nil {
		f.remove(s.reader)
		s.refuse(request, answer, err)
		return
	}
	answer.head(request.ProtoMajor == 1)
	if !s.takeOver(request, answer) {
		s.run(request.Context())
	}
}

// stream is one browser's stream, as its connection sees it.
type stream struct {
	out    output
	feed   *Feed
	reader *reader

	// writing is held by whoever writes: the stream's goroutine, or a worker of
	// delivery. It guards what follows.
	writing  sync.Mutex
	after    string // the cursor as the browser sent it; "" once at is set from an answer
	at       cursor // what the browser has
	caughtUp bool   // it lacks nothing but what is pending
	quick    bool   // workers may write to it
	stuck    bool   // it did not take all that a worker wrote
	broken   bool   // its connection is
	over     bool   // the last there is was written
	unsent   net.Buffers
	deadline time.Time
}

// sendAway ends a stream: the browser comes back after the pause. A status
// other than 200 would make its EventSource give up.
func (s *stream) sendAway(after time.Duration) {
	_ = s.say(fmt.Appendf(nil, "retry: %d\n\n", max(after, time.Second/2).Milliseconds()))
}

// run looks after the stream until ctx ends with the browser's connection, the
// browser is too slow, or it is sent away.
func (s *stream) run(ctx context.Context) {
	defer s.feed.remove(s.reader)
	s.reader.begun(s)
	// What a browser waits after a connection that broke: by chance, so that
	// those that broke together do not come back together.
	if s.say(fmt.Appendf(nil, "retry: %d\n\n", between(time.Second, 3*time.Second).Milliseconds())) != nil {
		return
	}
	life := time.NewTimer(between(minLife, maxLife))
	defer life.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var retry <-chan time.Time // of a replay that failed
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.feed.draining:
			s.sendAway(between(0, drainSpread))
			return
		case <-life.C:
			s.sendAway(time.Second / 2)
			return
		case <-beat.C:
			if s.say(stillHere) != nil {
				return
			}
		case <-retry:
			retry = nil
			s.reader.fallBehind()
		case <-s.reader.wake:
			switch err := s.look(ctx); {
			case errors.Is(err, errReplay):
				retry = time.After(between(replayPause/2, replayPause))
			case err != nil:
				return
			}
		}
	}
}

var (
	// errReplay: what the browser missed could not be read just now.
	errReplay = errors.New("replay failed")
	// errOver: the stream is over. The browser comes back, and hears why if it may
	// not, or need not.
	errOver = errors.New("over")
)

// look does what workers leave to the stream's own goroutine.
func (s *stream) look(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	n := s.reader.take()
	if n.ended != "" || n.cut || s.broken {
		return errOver
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.stuck = false
	if n.behind {
		s.caughtUp = false
		if err := s.catchUp(ctx); err != nil {
			if ctx.Err() != nil || s.broken || final(err) {
				return errOver
			}
			return errReplay
		}
		s.caughtUp = true
	}
	if !s.caughtUp {
		return nil // what is pending came after what is missing: the replay reads it
	}
	s.deliver(n.pending)
	if err := s.flush(); err != nil {
		return err
	}
	if s.over {
		return errOver
	}
	return nil
}

// say writes something that is no event.
func (s *stream) say(bytes []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.write(bytes)
	return s.flush()
}

// stillHere is a comment: browsers pass over it, proxies see life.
var stillHere = []byte(": still here\n\n")

// catchUp reads and writes what arrived after what the browser has.
func (s *stream) catchUp(ctx context.Context) error {
	for {
		after := s.after
		if after == "" && s.at.epoch != "" {
			after = s.at.String()
		}
		p, err := s.feed.replay(ctx, s.reader, after)
		if errors.Is(err, errDraining) {
			return nil // run sees it next
		}
		if err != nil {
			return err
		}
		s.add(p)
		if err := s.flush(); err != nil || !p.more {
			return err
		}
	}
}

// add writes a page that was read.
func (s *stream) add(p page) {
	for _, f := range p.frames {
		s.write(f.bytes)
	}
	s.after, s.at, s.over = "", p.cursor, s.over || p.over
}

// deliver writes what the browser does not have yet.
func (s *stream) deliver(frames []*frame) {
	for _, f := range frames {
		if f.epoch != s.at.epoch {
			// Another database: what the browser has counts nothing there. The
			// replay tells it so.
			s.reader.fallBehind()
			return
		}
		if f.sequence > s.at.sequence {
			s.write(f.bytes)
			s.at, s.over = f.cursor, s.over || f.last
		}
	}
}

// write adds to what the next flush sends.
func (s *stream) write(bytes []byte) { s.unsent = append(s.unsent, bytes) }

// keepUnsent is how many slices a stream keeps room for between flushes.
const keepUnsent = 4

// flush sends what was written, in one system call when the connection takes it.
func (s *stream) flush() error {
	if len(s.unsent) == 0 {
		return nil
	}
	if err := s.extend(); err != nil {
		return err
	}
	err := s.send()
	s.broken = s.broken || err != nil
	return err
}

// send sends what is unsent; what was not taken stays.
func (s *stream) send() error {
	rest := s.unsent
	if err := s.out.send(&rest); err != nil {
		s.unsent = rest
		return err
	}
	if cap(s.unsent) > keepUnsent {
		s.unsent = nil
	} else {
		clear(s.unsent)
		s.unsent = s.unsent[:0]
	}
	return nil
}

// extend gives what is sent next a deadline of its own, instead of the
// server's, which would end every stream. Moved on now and then, not each time.
func (s *stream) extend() error {
	now := time.Now()
	if s.deadline.Sub(now) >= writeTimeout/2 {
		return nil
	}
	s.deadline = now.Add(writeTimeout)
	return s.out.SetWriteDeadline(s.deadline)
}
