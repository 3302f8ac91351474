package live

import (
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// Since answers a short poll: what came after the cursor in the parameter "after",
// or else in If-None-Match, as JSON; without either, nothing and the cursor to
// begin with. For an operation it is the operation as it is.
//
// ETag is the cursor to go on from, and 304 says that nothing came. Retry-After
// says when asking again is worth it. No state is kept for that: Last-Modified
// says when the newest came, and a client that sends it back as If-Modified-Since,
// as caches do, is told to ask ever less often while nothing comes.
func (f *Feed) Since(w http.ResponseWriter, r *http.Request, session, key string) {
	if err := f.unaskable(session, key); err != nil {
		AnswerProblem(w, r, err)
		return
	}
	release, err := f.polls.Acquire(logicclient.Caller{Session: session, Address: server.ClientAddress(r)})
	if err != nil {
		AnswerProblem(w, r, noRoom(roomFor(err)))
		return
	}
	defer release()
	after := askedAfter(r)
	if f.source.traits().whole {
		after = "" // it is answered whole; the entity tag says whether that is news
	}
	p, err := f.read(r.Context(), session, key, after)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	if after == "" && p.changed.IsZero() {
		p.changed = time.Now()
	}
	answerPoll(w, r, f.source, p)
}

// answerPoll answers with a page, or that there is nothing new in it.
func answerPoll(w http.ResponseWriter, r *http.Request, from source, p page) {
	now := time.Now()
	if p.changed.IsZero() {
		// It is the client's own word, and costs only the client.
		p.changed, _ = http.ParseTime(r.Header.Get("If-Modified-Since"))
	}
	h := w.Header()
	h.Set("ETag", etag(p.cursor))
	if !p.changed.IsZero() {
		h.Set("Last-Modified", p.changed.UTC().Format(http.TimeFormat))
	}
	if !p.over && !p.more {
		retryAfter(h, askAgain(now, p.changed, p.ends))
	}
	// A cursor that counts nothing, and a page that there is more after, are never
	// passed over in silence.
	if seen(r, p.cursor) && !p.more && !p.reset {
		h.Set("Cache-Control", pollCache)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := from.body(p)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	answer(w, http.StatusOK, "application/json", pollCache, body)
}

// pollCache lets a browser keep what it was answered, and ask each time whether
// it still holds.
const pollCache = "private, no-cache"

// askAgain returns when asking again is worth it: the longer nothing came, and
// the longer it likely takes, the later.
func askAgain(now, changed, ends time.Time) time.Duration {
	if changed.IsZero() {
		return somePoll
	}
	return min(max(soonPoll, now.Sub(changed)/pollQuiet, ends.Sub(now)/pollRest), latePoll)
}
