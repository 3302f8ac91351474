package live

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// start waits until the stream's subscription is established. An error is the
// reason to reject the request instead of streaming.
func (s *stream) start(ctx context.Context) error {
	if err := s.feed.awaitSubscribed(ctx, s.subscriber); err != nil {
		return err
	}
	if t := s.feed.source.traits(); !t.finite && !t.authorizedByRead {
		s.position, _ = parseCursor(s.requested)
		return nil
	}
	// The resource may be finished, or the session may not be allowed to read it:
	// both must be known before the response headers go out. The read supersedes
	// earlier notifications.
	s.subscriber.take()
	p, err := s.feed.replay(ctx, s.subscriber, s.requested)
	switch {
	case err != nil:
		return err
	case p.done && !p.hasNews():
		return errUpToDate
	}
	s.addPage(p)
	s.caughtUp = true
	return nil
}

// awaitSubscribed waits until the logic tier confirms a subscription. It leaves
// the subscriber signalled, so that its goroutine reads what it missed.
func (f *Feed) awaitSubscribed(ctx context.Context, sub *subscriber) error {
	timeout := time.NewTimer(subscribeTimeout)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.draining:
		return errDraining
	case <-timeout.C:
		return errNoUpstream
	case <-sub.wake:
		sub.signal()
		sub.mu.Lock()
		defer sub.mu.Unlock()
		return subscriptionError(sub.endReason)
	}
}

// reject answers a request whose stream could not start.
func (s *stream) reject(request *http.Request, response *response, err error) {
	if request.Context().Err() != nil {
		return
	}
	_ = s.extendDeadline()
	switch {
	case errors.Is(err, errUpToDate):
		response.w.WriteHeader(http.StatusNoContent)
	case isPermanent(err):
		AnswerProblem(response.w, request, err)
	default:
		response.writeHeader(false)
		s.closeWithRetry(retryDelay(err))
	}
}
