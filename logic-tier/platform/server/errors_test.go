package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/apperror"
)

func TestToStatus_MapsEachKindToItsOwnCode(t *testing.T) {
	t.Parallel()
	kinds := map[codes.Code]apperror.Kind{}
	for _, kind := range apperror.Kinds {
		code := status.Code(toStatus(apperror.New(kind, "R", "m")))
		if code == codes.OK || code == codes.Unknown || code == codes.Internal {
			t.Errorf("kind %d maps to %v", kind, code)
		}
		if other, ok := kinds[code]; ok {
			t.Errorf("kinds %d and %d both map to %v", kind, other, code)
		}
		kinds[code] = kind
	}
}

func TestToStatus_CarriesMessageAndDetails(t *testing.T) {
	t.Parallel()
	failure := apperror.InvalidField("TITLE_MISSING", "talk.title", "enter a title").RetryIn(2 * time.Second).Because(errors.New("pq: secret"))
	s := status.Convert(toStatus(fmt.Errorf("publish: %w", failure)))
	if s.Code() != codes.InvalidArgument || s.Message() != "talk.title: enter a title" {
		t.Errorf("got %v: %s", s.Code(), s.Message())
	}
	var reason, field string
	var retry time.Duration
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = d.Domain + " " + d.Reason
		case *errdetails.BadRequest:
			field = d.FieldViolations[0].Field + ": " + d.FieldViolations[0].Description
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration()
		}
	}
	if reason != "techtalks.example TITLE_MISSING" || field != "talk.title: enter a title" || retry != 2*time.Second {
		t.Errorf("got details %q, %q, %v", reason, field, retry)
	}
}

func TestToStatus_MapsOtherErrorsWithoutLeakingThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"no error":          {nil, codes.OK},
		"deadline exceeded": {fmt.Errorf("query: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		"client canceled":   {fmt.Errorf("query: %w", context.Canceled), codes.Canceled},
		"another module's":  {status.Error(codes.NotFound, "no such account"), codes.NotFound},
		"unexpected":        {errors.New("pq: relation \"secret\" does not exist"), codes.Internal},
	} {
		err := toStatus(c.err)
		if status.Code(err) != c.code {
			t.Errorf("%s: got %v, want %v", name, err, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the client receives %v", name, err)
		}
	}
}
