package live

import (
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// Since answers a short poll with the events after a cursor, as JSON. The cursor is the
// parameter "after", or else If-None-Match. Without either, the answer has no events but
// the cursor to start from. For an operation the answer is its current state.
//
// ETag is the cursor to resume from; 304 means no news. Retry-After is when to poll
// again, and absent if polling again serves no purpose. The server keeps no state for it:
// Last-Modified is the time of the latest event, and a client that sends it back as
// If-Modified-Since, as caches do, receives longer intervals while nothing changes.
func (f *Feed) Since(w http.ResponseWriter, r *http.Request, session, key string) {
	if err := f.validate(session, key); err != nil {
		AnswerProblem(w, r, err)
		return
	}
	release, err := f.pollSlots.Acquire(logicclient.Caller{Session: session, Address: server.ClientAddress(r)})
	if err != nil {
		AnswerProblem(w, r, capacityProblem(slotError(err)))
		return
	}
	defer release()
	after := requestedCursor(r)
	if f.source.traits().coalesce {
		after = "" // the answer is the whole state; its entity tag shows whether that is news
	}
	p, err := f.read(r.Context(), session, key, after)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	if after == "" && p.updateTime.IsZero() {
		p.updateTime = time.Now()
	}
	answerPoll(w, r, f.source, p)
}

// answerPoll writes a page, or 304 if the client has it.
func answerPoll(w http.ResponseWriter, r *http.Request, source source, p page) {
	now := time.Now()
	if p.updateTime.IsZero() {
		// The client chooses this value, and a wrong one harms only that client.
		p.updateTime, _ = http.ParseTime(r.Header.Get("If-Modified-Since"))
	}
	h := w.Header()
	h.Set("ETag", entityTag(p.cursor))
	if !p.updateTime.IsZero() {
		h.Set("Last-Modified", p.updateTime.UTC().Format(http.TimeFormat))
	}
	if !p.done && !p.more {
		setRetryAfter(h, pollInterval(now, p.updateTime, p.expectedEnd))
	}
	// A reset, and a page that others follow, must reach the client in any case.
	if matchesTag(r, p.cursor) && !p.more && !p.reset {
		h.Set("Cache-Control", pollCache)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := source.pollBody(p)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	writeResponse(w, http.StatusOK, "application/json", pollCache, body)
}

// pollCache lets browsers store answers and revalidate them with each poll.
const pollCache = "private, no-cache"

// pollInterval returns when to poll again: the longer ago the last change, and the
// further off the expected end, the later.
func pollInterval(now, updateTime, expectedEnd time.Time) time.Duration {
	if updateTime.IsZero() {
		return defaultPollInterval
	}
	return min(max(minPollInterval, now.Sub(updateTime)/quietFraction, expectedEnd.Sub(now)/remainingFraction), maxPollInterval)
}
