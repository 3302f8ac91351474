package live

import (
	"context"
	"errors"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/server"
)

// waitOverhead limits what a long poll takes besides its timeout: to subscribe, read
// and write the answer. The server's own deadlines are those of a page.
const waitOverhead = 2*subscribeTimeout + 2*replayTimeout + writeTimeout

// errNoNews: the long poll timed out without news.
var errNoNews = errors.New("no news before the timeout")

// Wait answers a long poll. As soon as there is news after the cursor, it answers 200
// with the body of Since. The cursor is the parameter "after", or else If-None-Match;
// without either, Wait returns the first news from now on. How long it waits is the
// parameter "timeout", or else "Prefer: wait=".
//
// On timeout it answers 204, with the cursor to resume from in ETag, and the client can
// poll again at once. When this process drains, 204 has a Retry-After. A finished
// resource is answered at once, whatever the cursor.
//
// It must not run inside a request-timeout middleware.
func (f *Feed) Wait(w http.ResponseWriter, r *http.Request, session, key string) {
	start := time.Now()
	if err := f.validate(session, key); err != nil {
		AnswerProblem(w, r, err)
		return
	}
	timeout, err := parseTimeout(r)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	// An expired read deadline would cancel the request's context as if the client had
	// disconnected. Response writers without deadlines have none to extend.
	controller, deadline := http.NewResponseController(w), start.Add(timeout.duration+waitOverhead)
	_ = controller.SetReadDeadline(deadline)
	_ = controller.SetWriteDeadline(deadline)

	poll := &longPoll{feed: f, requested: requestedCursor(r)}
	var p page
	for {
		poll.subscriber = f.newSubscriber(session, key, server.ClientAddress(r), true)
		p, err = poll.run(r.Context(), start.Add(timeout.duration))
		// The logic tier may have rejected the subscription because its database is
		// restarting. A request that would wait anyway is spared that error.
		if !errors.Is(err, errNoUpstream) || time.Since(start) > min(timeout.duration, subscribeTimeout) || !poll.backOff(r.Context()) {
			break
		}
	}
	if r.Context().Err() == nil && timeout.applied != "" {
		w.Header().Set("Preference-Applied", timeout.applied)
	}
	poll.answer(w, r, p, err)
}

// longPoll is one long poll.
type longPoll struct {
	feed       *Feed
	subscriber *subscriber

	requested string // the cursor that the client sent
	position  cursor // of the client; valid if known
	known     bool
	caughtUp  bool // the client lacks only pending events
}

// run returns the first news. It fails with errNoNews, errDraining or a problem.
func (l *longPoll) run(ctx context.Context, deadline time.Time) (page, error) {
	if err := l.feed.add(l.subscriber); err != nil {
		return page{}, err
	}
	defer l.feed.remove(l.subscriber)
	if err := l.feed.awaitSubscribed(ctx, l.subscriber); err != nil {
		return page{}, err
	}
	timer := time.NewTimer(subscribeTimeout) // of the first read; then of the wait
	defer timer.Stop()
	var retry <-chan time.Time // of a failed replay
	for {
		select {
		case <-ctx.Done():
			return page{}, ctx.Err()
		case <-l.feed.draining:
			return page{}, errDraining
		case <-timer.C:
			if !l.known {
				return page{}, errNoUpstream
			}
			return page{}, errNoNews
		case <-retry:
			retry = nil
			l.subscriber.markBehind()
		case <-l.subscriber.wake:
			p, err := l.handleUpdates(ctx)
			switch {
			case errors.Is(err, errReplayFailed):
				retry = time.After(randomBetween(replayRetryDelay/2, replayRetryDelay))
			case err != nil || p.hasNews() || p.done:
				return p, err
			case l.caughtUp:
				timer.Reset(time.Until(deadline))
			}
		}
	}
}

// backOff waits before another attempt. It reports false if ctx is done first.
func (l *longPoll) backOff(ctx context.Context) bool {
	timer := time.NewTimer(randomBetween(replayRetryDelay/2, replayRetryDelay))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.feed.draining: // the next attempt fails with errDraining
	case <-timer.C:
	}
	return true
}

// handleUpdates returns the news that the client does not have; a page without news if
// there is none.
func (l *longPoll) handleUpdates(ctx context.Context) (page, error) {
	u := l.subscriber.take()
	if err := subscriptionError(u.endReason); err != nil {
		return page{}, err
	}
	if u.behind || u.overflow || l.epochChanged(u.pending) {
		l.caughtUp = false
	}
	if !l.caughtUp {
		if p, err := l.catchUp(ctx); err != nil || p.hasNews() || p.done {
			return p, err
		}
	}
	return l.selectNew(u.pending), nil
}

// epochChanged reports whether an event is from another epoch than the position.
func (l *longPoll) epochChanged(frames []*frame) bool {
	for _, f := range frames {
		if f.epoch != l.position.epoch {
			return true
		}
	}
	return false
}

// catchUp reads the events after the client's position.
func (l *longPoll) catchUp(ctx context.Context) (page, error) {
	after := l.requested
	if l.known {
		after = l.position.String()
	}
	p, err := l.feed.replay(ctx, l.subscriber, after)
	switch {
	case err == nil:
	case ctx.Err() != nil || errors.Is(err, errDraining) || isPermanent(err):
		return page{}, err
	default:
		return page{}, errReplayFailed
	}
	l.position, l.known, l.caughtUp = p.cursor, true, true
	if after == "" && !p.done {
		return page{}, nil // the current state is the starting point, not news
	}
	return p, nil
}

// selectNew returns the events after the client's position, and advances it.
func (l *longPoll) selectNew(frames []*frame) (p page) {
	for _, f := range frames {
		if f.epoch == l.position.epoch && f.sequence > l.position.sequence {
			l.position = f.cursor
			p.frames, p.done = append(p.frames, f), p.done || f.final
		}
	}
	p.cursor = l.position
	return p
}

func (l *longPoll) answer(w http.ResponseWriter, r *http.Request, p page, err error) {
	switch {
	case errors.Is(err, errNoNews):
		l.answerNoContent(w)
		return
	case errors.Is(err, errDraining):
		setRetryAfter(w.Header(), retryDelay(err))
		l.answerNoContent(w)
		return
	case errors.Is(err, errFull), errors.Is(err, errShare):
		err = capacityProblem(err)
	}
	var body []byte
	if err == nil {
		body, err = l.feed.source.pollBody(p)
	}
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	w.Header().Set("ETag", entityTag(p.cursor))
	writeResponse(w, http.StatusOK, "application/json", "no-store", body)
}

// answerNoContent answers 204, with the cursor to resume from if it is known.
func (l *longPoll) answerNoContent(w http.ResponseWriter) {
	h := w.Header()
	if l.known {
		h.Set("ETag", entityTag(l.position))
	}
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
