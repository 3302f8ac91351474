package live

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

var (
	// errNoUpstream: the logic tier did not say in time that it follows.
	errNoUpstream = &logicclient.Problem{
		Status: http.StatusServiceUnavailable, Title: "Back in a moment", RetryAfter: busyRetry,
		Message: "A part of TechTalks does not answer just now. Nothing is lost; ask again in a moment, with the same cursor.",
	}
	// errBusy is errFull, and too many short polls, as an answer.
	errBusy = &logicclient.Problem{
		Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetry,
		Message: "More browsers follow than there is room for. Ask again in a moment, with the same cursor.",
	}
	// errTooMany is errShare as an answer.
	errTooMany = &logicclient.Problem{
		Status: http.StatusTooManyRequests, Title: "Too many at once", RetryAfter: busyRetry,
		Message: "More tabs or programs follow with your session, or from your network, than its share. Close some, or ask again later with the same cursor.",
	}
	errSessionInvalid = &logicclient.Problem{
		Status: http.StatusUnauthorized, Reason: "SESSION_INVALID", Title: "Sign in first",
		Message: "The session is not valid any more; sign in again.",
	}
	errDenied = &logicclient.Problem{
		Status: http.StatusForbidden, Reason: "OPERATOR_REQUIRED", Title: "For operators",
		Message: "Only an operator may follow this. Sign in with an operator's account.",
	}
	errNotFound = &logicclient.Problem{
		Status: http.StatusNotFound, Reason: "OPERATION_NOT_FOUND", Title: "Not found",
		Message: "There is no such operation of yours. Operations are kept for 7 days after their end; see /operations for those there are.",
	}
	// errAllSeen: it has ended, and the browser has all of it.
	errAllSeen = errors.New("all seen")
)

// refusal returns what the end of a subscription means, by its reason in the
// contract; nil when it did not end.
func refusal(reason string) error {
	switch reason {
	case "":
		return nil
	case errSessionInvalid.Reason:
		return errSessionInvalid
	case errDenied.Reason:
		return errDenied
	case errNotFound.Reason:
		return errNotFound
	}
	return errNoUpstream
}

// denial returns the reason to end a subscription for whose session the logic
// tier refuses to be asked.
func denial(err error) string {
	if logicclient.Explain(err).Status == http.StatusForbidden {
		return errDenied.Reason
	}
	return errSessionInvalid.Reason
}

// unaskable returns why the logic tier need not even be asked; nil when it does.
func (f *Feed) unaskable(session, key string) error {
	switch {
	case session == "":
		return &logicclient.Problem{
			Status: http.StatusUnauthorized, Reason: "SESSION_REQUIRED", Title: "Sign in first", Message: f.source.traits().signIn,
		}
	case !f.source.takes(key):
		return errNotFound
	}
	return nil
}

// final says whether an error stays, whenever one asks again.
func final(err error) bool {
	switch logicclient.Explain(err).InvalidNameAsNotFound().Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return false
}

// comeBack returns when who is sent away should come back.
func comeBack(why error) time.Duration {
	switch {
	case errors.Is(why, errDraining):
		return between(0, drainSpread)
	case errors.Is(why, errFull) || errors.Is(why, errShare):
		return busyRetry
	}
	return between(busyRetry/2, busyRetry)
}

// noRoom returns what errFull or errShare means as an answer.
func noRoom(err error) *logicclient.Problem {
	if errors.Is(err, errShare) {
		return errTooMany
	}
	return errBusy
}

// statusGone is what the log says of a client that left (nginx's number).
const statusGone = 499

// AnswerProblem answers a program with what an error means, as JSON (RFC 9457).
func AnswerProblem(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		w.WriteHeader(statusGone)
		return
	}
	p := logicclient.Explain(err).InvalidNameAsNotFound()
	if p.Status >= http.StatusInternalServerError {
		server.RecordError(r.Context(), err)
	}
	body, err := json.Marshal(struct {
		Title  string            `json:"title"`
		Status int               `json:"status"`
		Detail string            `json:"detail"`
		Reason string            `json:"reason,omitempty"`
		Fields map[string]string `json:"fields,omitempty"`
	}{p.Title, p.Status, p.Message, p.Reason, p.Fields})
	if err != nil {
		panic(err) // made of text
	}
	if p.RetryAfter > 0 {
		retryAfter(w.Header(), p.RetryAfter)
	}
	answer(w, p.Status, "application/problem+json", "no-store", body)
}

func answer(w http.ResponseWriter, status int, kind, cache string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", cache)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// retryAfter says when to ask again, in whole seconds (RFC 9110, 10.2.3).
func retryAfter(h http.Header, after time.Duration) {
	h.Set("Retry-After", strconv.Itoa(max(1, int(after.Round(time.Second).Seconds()))))
}
