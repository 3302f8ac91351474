package live

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// begin waits until what the browser follows is subscribed to. An error says why
// there will be no stream.
func (s *stream) begin(ctx context.Context) error {
	if err := s.feed.awaitSubscribed(ctx, s.reader); err != nil {
		return err
	}
	if t := s.feed.source.traits(); !t.ends && !t.guarded {
		s.at, _ = parseCursor(s.after)
		return nil
	}
	// It may have ended, or be nothing for this session: then there may be nothing
	// to begin. Whatever the reader was told before, the read knows.
	s.reader.take()
	p, err := s.feed.replay(ctx, s.reader, s.after)
	switch {
	case err != nil:
		return err
	case p.over && !p.news():
		return errAllSeen
	}
	s.add(p)
	s.caughtUp = true
	return nil
}

// awaitSubscribed waits until a reader is subscribed. It leaves the reader awake
// for whoever looks at what there is.
func (f *Feed) awaitSubscribed(ctx context.Context, r *reader) error {
	timeout := time.NewTimer(subscribeTimeout)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.draining:
		return errDraining
	case <-timeout.C:
		return errNoUpstream
	case <-r.wake:
		r.look()
		r.mu.Lock()
		defer r.mu.Unlock()
		return refusal(r.ended)
	}
}

// refuse answers in the place of a stream.
func (s *stream) refuse(request *http.Request, answer *response, why error) {
	if request.Context().Err() != nil {
		return
	}
	_ = s.extend()
	switch {
	case errors.Is(why, errAllSeen):
		answer.w.WriteHeader(http.StatusNoContent)
	case final(why):
		AnswerProblem(answer.w, request, why)
	default:
		answer.head(false)
		s.sendAway(comeBack(why))
	}
}
