package logicclient_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
)

func TestExplain_CoversEveryCode(t *testing.T) {
	for code := codes.OK + 1; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			p := logicclient.Explain(status.Error(code, ""))
			if p.Status < 400 || p.Status > 599 || p.Title == "" || p.Message == "" {
				t.Errorf("got %+v, want an error status, a title and a message", p)
			}
			internal := logicclient.Explain(status.Error(code, "dial tcp 10.0.0.7:9090: secret"))
			if internal.Message != p.Message {
				t.Errorf("got message %q for an internal error, want %q", internal.Message, p.Message)
			}
		})
	}
}

func TestExplain_KeepsTheMessageOfARule(t *testing.T) {
	for _, c := range []struct {
		err     error
		status  int
		message string
		retry   time.Duration
	}{
		{logictest.Refusal(codes.NotFound, "TALK_NOT_FOUND", "there is no such talk"), 404, "There is no such talk.", 0},
		{logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_ATTEMPTS", "too many attempts; wait", time.Minute), 429, "Too many attempts; wait.", time.Minute},
		{logictest.Refusal(codes.ResourceExhausted, "STORAGE_FULL", "this site has no room for more uploads; ask its operators"), 507, "This site has no room for more uploads; ask its operators.", 0},
		{logictest.RefusalRetry(codes.ResourceExhausted, "SERVER_BUSY", "internal message", time.Second), 503, "TechTalks is getting more requests than it can serve. Try again in a moment.", time.Second},
		{logictest.Refusal(codes.Unauthenticated, "PROGRAM_UNKNOWN", "connect with a certificate"), 500, "This is our fault, not yours. Try again in a few minutes.", 0},
		{fmt.Errorf("wrapped: %w", &logicclient.Problem{Status: 418, Message: "tea"}), 418, "tea", 0},
		{context.DeadlineExceeded, 504, "The answer did not arrive in time. Try again in a moment.", 2 * time.Second},
	} {
		p := logicclient.Explain(c.err)
		if p.Status != c.status || p.Message != c.message || p.RetryAfter != c.retry {
			t.Errorf("%v: got %d %q %v, want %d %q %v", c.err, p.Status, p.Message, p.RetryAfter, c.status, c.message, c.retry)
		}
	}
}

func TestExplain_ReducesViolationsToFieldNames(t *testing.T) {
	p := logicclient.Explain(logictest.Refusal(codes.InvalidArgument, "FIELDS_INVALID", "bad",
		"talk.speakers[2]", "use a name", "talk.speakers[3]", "a second one is left out", "handle", "use letters",
		`headers["a.b\"]"]`, "use at most 100 characters"))
	if p.Fields["speakers"] != "use a name" || p.Fields["handle"] != "use letters" || p.Fields["headers"] != "use at most 100 characters" || len(p.Fields) != 3 {
		t.Errorf("got %v, want speakers, handle and headers", p.Fields)
	}
}

func TestInvalidNameAsNotFound_ConvertsResourceNamesOnly(t *testing.T) {
	for _, c := range []struct {
		violations []string
		status     int
	}{
		{[]string{"name", "x"}, http.StatusNotFound},
		{[]string{"parent", "x"}, http.StatusNotFound},
		{[]string{"channel", "x"}, http.StatusNotFound},
		{[]string{"parent", "x", "query", "too long"}, http.StatusBadRequest},
		{[]string{"page_token", "x"}, http.StatusBadRequest},
		{nil, http.StatusBadRequest},
	} {
		err := logictest.Refusal(codes.InvalidArgument, "NAME_INVALID", "bad", c.violations...)
		if got := logicclient.Explain(err).InvalidNameAsNotFound().Status; got != c.status {
			t.Errorf("%v: got %d, want %d", c.violations, got, c.status)
		}
	}
}
