package live

import (
	"context"
	"errors"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/server"
)

// waitOverhead bounds what a long poll takes besides its wait: being subscribed,
// reading, and writing the answer. The server's own deadlines are a page's.
const waitOverhead = 2*subscribeTimeout + 2*replayTimeout + writeTimeout

// errNothing: nothing came in time.
var errNothing = errors.New("nothing came")

// Wait answers a long poll: what came after the cursor, as soon as there is any,
// with 200 and what Since answers. The cursor is in the parameter "after", or else
// in If-None-Match; without either it is the next that comes from now on. How long
// to wait is in "timeout" or "Prefer: wait=". When nothing comes in that time it
// answers 204, with the cursor to go on from in ETag: ask again at once. What has
// ended is answered at once, whatever the cursor. When this process ends, 204 says
// with Retry-After when to ask again.
//
// It must not run inside a request-timeout middleware.
func (f *Feed) Wait(w http.ResponseWriter, r *http.Request, session, key string) {
	began := time.Now()
	if err := f.unaskable(session, key); err != nil {
		AnswerProblem(w, r, err)
		return
	}
	timeout, err := timeoutOf(r)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	// A read deadline that passes would end the request's context as if the client
	// had left. Writers that know no deadlines have none to move.
	control, limit := http.NewResponseController(w), began.Add(timeout.wait+waitOverhead)
	_ = control.SetReadDeadline(limit)
	_ = control.SetWriteDeadline(limit)

	q := &wait{feed: f, after: askedAfter(r)}
	var p page
	for {
		q.reader = f.newReader(session, key, server.ClientAddress(r), true)
		p, err = q.wait(r.Context(), began.Add(timeout.wait))
		// The logic tier may have been refused by its database, which is restarted: who
		// waits anyway need not be told.
		if !errors.Is(err, errNoUpstream) || time.Since(began) > min(timeout.wait, subscribeTimeout) || !q.pause(r.Context()) {
			break
		}
	}
	if r.Context().Err() == nil && timeout.applied != "" {
		w.Header().Set("Preference-Applied", timeout.applied)
	}
	q.answer(w, r, p, err)
}

// wait is one long poll.
type wait struct {
	feed   *Feed
	reader *reader

	after    string // the cursor as the client sent it
	at       cursor // what the client has, once that is known
	known    bool
	caughtUp bool // it lacks nothing but what is pending
}

// wait returns what comes first: news; or errNothing, errDraining, or why there
// can be none.
func (q *wait) wait(ctx context.Context, until time.Time) (page, error) {
	if err := q.feed.add(q.reader); err != nil {
		return page{}, err
	}
	defer q.feed.remove(q.reader)
	if err := q.feed.awaitSubscribed(ctx, q.reader); err != nil {
		return page{}, err
	}
	end := time.NewTimer(subscribeTimeout) // of the first read; then of the wait
	defer end.Stop()
	var retry <-chan time.Time // of a read that failed
	for {
		select {
		case <-ctx.Done():
			return page{}, ctx.Err()
		case <-q.feed.draining:
			return page{}, errDraining
		case <-end.C:
			if !q.known {
				return page{}, errNoUpstream
			}
			return page{}, errNothing
		case <-retry:
			retry = nil
			q.reader.fallBehind()
		case <-q.reader.wake:
			p, err := q.look(ctx)
			switch {
			case errors.Is(err, errReplay):
				retry = time.After(between(replayPause/2, replayPause))
			case err != nil || p.news() || p.over:
				return p, err
			case q.caughtUp:
				end.Reset(time.Until(until))
			}
		}
	}
}

// pause waits before the feed is asked again; false when there is nobody to wait for.
func (q *wait) pause(ctx context.Context) bool {
	again := time.NewTimer(between(replayPause/2, replayPause))
	defer again.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-q.feed.draining: // which is said when it is asked
	case <-again.C:
	}
	return true
}

// look returns what there is that the client does not have; a page without news
// when there is nothing.
func (q *wait) look(ctx context.Context) (page, error) {
	n := q.reader.take()
	if err := refusal(n.ended); err != nil {
		return page{}, err
	}
	if n.behind || n.cut || q.elsewhere(n.pending) {
		q.caughtUp = false
	}
	if !q.caughtUp {
		if p, err := q.catchUp(ctx); err != nil || p.news() || p.over {
			return p, err
		}
	}
	return q.pick(n.pending), nil
}

// elsewhere says whether events count in another epoch than the client does.
func (q *wait) elsewhere(frames []*frame) bool {
	for _, f := range frames {
		if f.epoch != q.at.epoch {
			return true
		}
	}
	return false
}

// catchUp reads what came after what the client has.
func (q *wait) catchUp(ctx context.Context) (page, error) {
	after := q.after
	if q.known {
		after = q.at.String()
	}
	p, err := q.feed.replay(ctx, q.reader, after)
	switch {
	case err == nil:
	case ctx.Err() != nil || errors.Is(err, errDraining) || final(err):
		return page{}, err
	default:
		return page{}, errReplay
	}
	q.at, q.known, q.caughtUp = p.cursor, true, true
	if after == "" && !p.over {
		return page{}, nil // from now on
	}
	return p, nil
}

// pick returns those of the events that the client does not have.
func (q *wait) pick(frames []*frame) (p page) {
	for _, f := range frames {
		if f.epoch == q.at.epoch && f.sequence > q.at.sequence {
			q.at = f.cursor
			p.frames, p.over = append(p.frames, f), p.over || f.last
		}
	}
	p.cursor = q.at
	return p
}

func (q *wait) answer(w http.ResponseWriter, r *http.Request, p page, err error) {
	switch {
	case errors.Is(err, errNothing):
		q.nothing(w)
		return
	case errors.Is(err, errDraining):
		retryAfter(w.Header(), comeBack(err))
		q.nothing(w)
		return
	case errors.Is(err, errFull), errors.Is(err, errShare):
		err = noRoom(err)
	}
	var body []byte
	if err == nil {
		body, err = q.feed.source.body(p)
	}
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(p.cursor))
	answer(w, http.StatusOK, "application/json", "no-store", body)
}

// nothing says that nothing came, and from where to go on.
func (q *wait) nothing(w http.ResponseWriter) {
	h := w.Header()
	if q.known {
		h.Set("ETag", etag(q.at))
	}
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
