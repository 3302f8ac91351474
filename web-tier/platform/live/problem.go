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
	// errNoUpstream: the logic tier did not confirm the subscription in time.
	errNoUpstream = &logicclient.Problem{
		Status: http.StatusServiceUnavailable, Title: "Back in a moment", RetryAfter: busyRetry,
		Message: "Part of TechTalks is not responding right now. Nothing is lost; try again in a moment with the same cursor.",
	}
	// errBusy answers errFull, and short polls beyond maxPolls.
	errBusy = &logicclient.Problem{
		Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetry,
		Message: "All live connections are in use. Try again in a moment with the same cursor.",
	}
	// errTooMany answers errShare.
	errTooMany = &logicclient.Problem{
		Status: http.StatusTooManyRequests, Title: "Too many live connections", RetryAfter: busyRetry,
		Message: "Your session or network has too many live connections. Close some tabs or programs, or try again later with the same cursor.",
	}
	errSessionInvalid = &logicclient.Problem{
		Status: http.StatusUnauthorized, Reason: "SESSION_INVALID", Title: "Sign in first",
		Message: "Your session has expired; sign in again.",
	}
	errOperatorRequired = &logicclient.Problem{
		Status: http.StatusForbidden, Reason: "OPERATOR_REQUIRED", Title: "Operators only",
		Message: "Only operators can follow the queue. Sign in with an operator's account.",
	}
	errNotFound = &logicclient.Problem{
		Status: http.StatusNotFound, Reason: "OPERATION_NOT_FOUND", Title: "Not found",
		Message: "You have no such operation. Operations are kept for 7 days after they finish; /operations lists yours.",
	}
	// errUpToDate: the resource is finished, and the browser has its last event.
	errUpToDate = errors.New("the client has the last event")
)

// subscriptionError returns the error for the reason, in the contract, that ended a
// subscription; nil if it has not ended.
func subscriptionError(reason string) error {
	switch reason {
	case "":
		return nil
	case errSessionInvalid.Reason:
		return errSessionInvalid
	case errOperatorRequired.Reason:
		return errOperatorRequired
	case errNotFound.Reason:
		return errNotFound
	}
	return errNoUpstream
}

// rejectionReason returns the reason with which to end the subscriptions of a session
// that the logic tier rejected with err.
func rejectionReason(err error) string {
	if logicclient.Explain(err).Status == http.StatusForbidden {
		return errOperatorRequired.Reason
	}
	return errSessionInvalid.Reason
}

// validate returns an error for requests that fail without asking the logic tier.
func (f *Feed) validate(session, key string) error {
	switch {
	case session == "":
		return &logicclient.Problem{
			Status: http.StatusUnauthorized, Reason: "SESSION_REQUIRED", Title: "Sign in first", Message: f.source.traits().signInMessage,
		}
	case !f.source.validKey(key):
		return errNotFound
	}
	return nil
}

// isPermanent reports whether retrying cannot succeed.
func isPermanent(err error) bool {
	switch logicclient.Explain(err).InvalidNameAsNotFound().Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return false
}

// retryDelay returns how long a client should wait after err before it reconnects.
func retryDelay(err error) time.Duration {
	switch {
	case errors.Is(err, errDraining):
		return randomBetween(0, drainSpread)
	case errors.Is(err, errFull) || errors.Is(err, errShare):
		return busyRetry
	}
	return randomBetween(busyRetry/2, busyRetry)
}

// capacityProblem returns the problem for errFull or errShare.
func capacityProblem(err error) *logicclient.Problem {
	if errors.Is(err, errShare) {
		return errTooMany
	}
	return errBusy
}

// statusClientClosedRequest is nginx's status for a client that disconnected. It
// appears only in the log.
const statusClientClosedRequest = 499

// AnswerProblem answers with an error as problem details in JSON (RFC 9457).
func AnswerProblem(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		w.WriteHeader(statusClientClosedRequest)
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
		panic(err) // strings always marshal
	}
	if p.RetryAfter > 0 {
		setRetryAfter(w.Header(), p.RetryAfter)
	}
	writeResponse(w, p.Status, "application/problem+json", "no-store", body)
}

func writeResponse(w http.ResponseWriter, status int, contentType, cacheControl string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", cacheControl)
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the client has disconnected
}

// setRetryAfter sets Retry-After in whole seconds, at least one (RFC 9110, 10.2.3).
func setRetryAfter(h http.Header, delay time.Duration) {
	h.Set("Retry-After", strconv.Itoa(max(1, int(delay.Round(time.Second).Seconds()))))
}
