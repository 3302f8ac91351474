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

func TestEveryKindOfRefusalHasItsCode(t *testing.T) {
	t.Parallel()
	of := map[codes.Code]apperror.Kind{}
	for _, kind := range apperror.Kinds {
		code := status.Code(toStatus(apperror.New(kind, "R", "m")))
		if code == codes.OK || code == codes.Unknown || code == codes.Internal {
			t.Errorf("kind %d has the code %v", kind, code)
		}
		if other, taken := of[code]; taken {
			t.Errorf("kinds %d and %d are both %v", kind, other, code)
		}
		of[code] = kind
	}
}

func TestARefusalSaysWhyAndWhatToDo(t *testing.T) {
	t.Parallel()
	refused := apperror.InvalidField("TITLE_MISSING", "talk.title", "write one").RetryIn(2 * time.Second).Because(errors.New("pq: secret"))
	s := status.Convert(toStatus(fmt.Errorf("while publishing: %w", refused)))
	if s.Code() != codes.InvalidArgument || s.Message() != "talk.title: write one" {
		t.Errorf("%v: %s", s.Code(), s.Message())
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
	if reason != "techtalks.example TITLE_MISSING" || field != "talk.title: write one" || retry != 2*time.Second {
		t.Errorf("details: %q, %q, %v", reason, field, retry)
	}
}

func TestWhatIsNoRefusal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"nothing":                  {nil, codes.OK},
		"too late":                 {fmt.Errorf("query: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		"nobody waits":             {fmt.Errorf("query: %w", context.Canceled), codes.Canceled},
		"a neighbouring module's":  {status.Error(codes.NotFound, "no such account"), codes.NotFound},
		"something nobody thought": {errors.New("pq: relation \"secret\" does not exist"), codes.Internal},
	} {
		err := toStatus(c.err)
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the caller reads %v", name, err)
		}
	}
}
