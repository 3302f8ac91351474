package live

import (
	"context"
	"fmt"
	"net"
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
// from, after the pause that "retry:" told it. Over HTTP/1.1 it returns as soon
// as the stream has begun, having taken the connection over: see takeOver. It
// must not run inside a request-timeout middleware.
func (i *Inbox) Stream(w http.ResponseWriter, request *http.Request, sessionToken string) {
	after := request.Header.Get("Last-Event-ID")
	if after == "" {
		after = request.URL.Query().Get("after")
	}
	answer := &response{w, http.NewResponseController(w)}
	s := &stream{out: answer, inbox: i, after: after}
	s.at, _ = parseCursor(after)

	var away time.Duration
	if s.reader, away = i.add(sessionToken); s.reader == nil {
		answer.head(false)
		s.sendAway(away)
		return
	}
	if !s.begin(request.Context(), answer) {
		i.remove(s.reader)
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
	inbox  *Inbox
	reader *reader

	after    string // the cursor as the browser sent it; "" once at is set from an answer
	at       cursor // what the browser has
	unsent   net.Buffers
	deadline time.Time
}

// begin waits until the browser's inbox is subscribed to; false when it ended
// instead, and was answered.
func (s *stream) begin(ctx context.Context, answer *response) bool {
	timeout := time.NewTimer(subscribeTimeout)
	defer timeout.Stop()
	away := between(busyRetry/2, busyRetry)
	select {
	case <-ctx.Done():
		return false
	case <-s.inbox.draining:
		away = between(0, drainSpread)
	case <-timeout.C:
	case <-s.reader.wake:
		s.reader.look() // run looks at what there is
		s.reader.mu.Lock()
		ended := s.reader.ended
		s.reader.mu.Unlock()
		switch ended {
		case "":
			return true
		case sessionInvalid:
			_ = s.extend()
			http.Error(answer.w, "sign in to follow your inbox", http.StatusUnauthorized)
			return false
		}
	}
	answer.head(false)
	s.sendAway(away)
	return false
}

// sendAway ends a stream: the browser comes back after the pause. A status
// other than 200 would make its EventSource give up.
func (s *stream) sendAway(after time.Duration) {
	s.write(fmt.Appendf(nil, "retry: %d\n\n", max(after, time.Second/2).Milliseconds()))
	_ = s.flush()
}

// run delivers until ctx ends with the browser's connection, the browser is too
// slow, or it is sent away.
func (s *stream) run(ctx context.Context) {
	defer s.inbox.remove(s.reader)
	// What a browser waits after a connection that broke: by chance, so that
	// those that broke together do not come back together.
	s.write(fmt.Appendf(nil, "retry: %d\n\n", between(time.Second, 3*time.Second).Milliseconds()))
	if s.flush() != nil {
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
		case <-ctx.Done():
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
			s.write(stillHere)
			if s.flush() != nil {
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
			if err := s.catchUp(ctx); err != nil {
				if ctx.Err() != nil || status.Code(err) == codes.Unauthenticated {
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
		s.deliver(n.pending)
		if s.flush() != nil {
			return
		}
	}
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
		ask := replay{ctx: ctx, token: s.reader.token, after: after, answer: make(chan replayed, 1)}
		select {
		case s.inbox.replays <- ask:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.inbox.draining:
			return nil // run sees it next
		}
		page := <-ask.answer
		if page.err != nil {
			return page.err
		}
		for _, f := range page.frames {
			s.write(f.bytes)
		}
		s.after, s.at = "", page.cursor
		if err := s.flush(); err != nil || !page.more {
			return err
		}
	}
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
			s.at = f.cursor
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
	err := s.out.send(s.unsent)
	if cap(s.unsent) > keepUnsent {
		s.unsent = nil
	} else {
		clear(s.unsent)
		s.unsent = s.unsent[:0]
	}
	return err
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
