package live

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reasons of the contract for the end of a subscription.
const sessionInvalid = "SESSION_INVALID"

// Stream answers GET /inbox/stream with the inbox of a session's account, as
// server-sent events, from the cursor in Last-Event-ID, or else in the
// parameter "after", or else from now on.
//
// It answers 401 when the session is not valid: a browser's EventSource then
// gives up. Every other end of a stream is one that the browser comes back
// from, after the pause that "retry:" told it. It must not run inside a
// request-timeout middleware.
func (i *Inbox) Stream(w http.ResponseWriter, request *http.Request, sessionToken string) {
	after := request.Header.Get("Last-Event-ID")
	if after == "" {
		after = request.URL.Query().Get("after")
	}
	s := stream{w: w, control: http.NewResponseController(w), ctx: request.Context(), inbox: i, after: after}
	s.at, _ = parseCursor(after)

	r := i.add(sessionToken)
	if r == nil {
		s.sendAway(busyRetry)
		return
	}
	defer i.remove(r)
	s.reader = r
	if s.begin() {
		s.run()
	}
}

// stream is one browser's stream, as its connection sees it.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	inbox   *Inbox
	reader  *reader

	after    string // the cursor as the browser sent it; "" once at is set from an answer
	at       cursor // what the browser has
	deadline time.Time
}

// begin waits until the browser's inbox is subscribed to, and says so in the
// headers; false when it ended instead.
func (s *stream) begin() bool {
	timeout := time.NewTimer(subscribeTimeout)
	defer timeout.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-s.inbox.draining:
		s.sendAway(between(0, drainSpread))
		return false
	case <-timeout.C:
		s.sendAway(between(busyRetry/2, busyRetry))
		return false
	case <-s.reader.wake:
	}
	s.reader.look() // run looks at what there is
	s.reader.mu.Lock()
	ended := s.reader.ended
	s.reader.mu.Unlock()
	switch ended {
	case "":
		s.head()
		return true
	case sessionInvalid:
		_ = s.extend()
		http.Error(s.w, "sign in to follow your inbox", http.StatusUnauthorized)
	default:
		s.sendAway(between(busyRetry/2, busyRetry))
	}
	return false
}

func (s *stream) head() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	// nginx and those like it pass events on as they come.
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
}

// sendAway ends a stream before or after it began: the browser comes back after
// the pause. A status other than 200 would make its EventSource give up.
func (s *stream) sendAway(after time.Duration) {
	if s.w.Header().Get("Content-Type") == "" {
		s.head()
	}
	_ = s.write(fmt.Appendf(nil, "retry: %d\n\n", max(after, time.Second/2).Milliseconds()))
	_ = s.flush()
}

// run delivers until the browser goes, is too slow, or is sent away.
func (s *stream) run() {
	// What a browser waits after a connection that broke: by chance, so that
	// those that broke together do not come back together.
	if s.write(fmt.Appendf(nil, "retry: %d\n\n", between(time.Second, 3*time.Second).Milliseconds())) != nil || s.flush() != nil {
		return
	}
	life := time.NewTimer(between(minLife, maxLife))
	defer life.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var again *time.Timer // a failed replay
	for {
		var retry <-chan time.Time
		if again != nil {
			retry = again.C
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.inbox.draining:
			s.sendAway(between(0, drainSpread))
			return
		case <-life.C:
			s.sendAway(time.Second / 2)
			return
		case <-retry:
			again = nil
			s.reader.fallBehind()
			continue
		case <-beat.C:
			if s.write([]byte(": still here\n\n")) != nil || s.flush() != nil {
				return
			}
			continue
		case <-s.reader.wake:
		}
		n := s.reader.take()
		if n.ended != "" || n.cut {
			return // it comes back, and hears why if it may not
		}
		if n.behind {
			if err := s.catchUp(); err != nil {
				if s.ctx.Err() != nil || status.Code(err) == codes.Unauthenticated {
					return
				}
				// What is pending waits too: it came after what is missing.
				again = time.NewTimer(between(replayPause/2, replayPause))
				continue
			}
			again = nil
		} else if again != nil {
			continue // still behind; the next replay reads these
		}
		if s.deliver(n.pending) != nil || s.flush() != nil {
			return
		}
	}
}

// catchUp reads and writes what arrived after what the browser has.
func (s *stream) catchUp() error {
	for {
		after := s.after
		if after == "" && s.at.epoch != "" {
			after = s.at.String()
		}
		ask := replay{ctx: s.ctx, token: s.reader.token, after: after, answer: make(chan replayed, 1)}
		select {
		case s.inbox.replays <- ask:
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-s.inbox.draining:
			return nil // run sees it next
		}
		page := <-ask.answer
		if page.err != nil {
			return page.err
		}
		for _, f := range page.frames {
			if err := s.write(f.bytes); err != nil {
				return err
			}
		}
		s.after, s.at = "", page.cursor
		if err := s.flush(); err != nil || !page.more {
			return err
		}
	}
}

// deliver writes what the browser does not have yet.
func (s *stream) deliver(frames []*frame) error {
	for _, f := range frames {
		if f.epoch != s.at.epoch {
			// Another database: what the browser has counts nothing there. The
			// replay tells it so.
			s.reader.fallBehind()
			return nil
		}
		if f.sequence <= s.at.sequence {
			continue
		}
		if err := s.write(f.bytes); err != nil {
			return err
		}
		s.at = f.cursor
	}
	return nil
}

func (s *stream) write(bytes []byte) error {
	if err := s.extend(); err != nil {
		return err
	}
	_, err := s.w.Write(bytes)
	return err
}

// extend gives what is written next a deadline of its own, instead of the
// server's, which would end every stream. Moved on now and then, not at each
// write.
func (s *stream) extend() error {
	now := time.Now()
	if s.deadline.Sub(now) >= writeTimeout/2 {
		return nil
	}
	s.deadline = now.Add(writeTimeout)
	return s.control.SetWriteDeadline(s.deadline)
}

func (s *stream) flush() error { return s.control.Flush() }
