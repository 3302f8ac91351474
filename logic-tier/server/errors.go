package server

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"techtalks.example/logic-tier/failure"
)

// domain is the domain of every ErrorInfo: reasons are unique within it.
const domain = "techtalks.example"

// codeOf is the whole table from kinds of refusal to gRPC codes.
var codeOf = map[failure.Kind]codes.Code{
	failure.Invalid:         codes.InvalidArgument,
	failure.Unauthenticated: codes.Unauthenticated,
	failure.Denied:          codes.PermissionDenied,
	failure.NotFound:        codes.NotFound,
	failure.Exists:          codes.AlreadyExists,
	failure.Exhausted:       codes.ResourceExhausted,
	failure.Unavailable:     codes.Unavailable,
}

// toStatus turns what a call returned into the status its caller gets. What is
// nobody's business (an SQL error) becomes INTERNAL without a word of it; the
// log line of the call has it.
func toStatus(err error) error {
	var refused *failure.Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refusal(refused).Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "not done in time; try again")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	}
	if s, ok := status.FromError(err); ok {
		return s.Err() // from a neighbouring module: said already
	}
	return status.Error(codes.Internal, "something went wrong on our side; it is in the log under this call's trace id")
}

func refusal(f *failure.Failure) *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: f.Reason, Domain: domain}}
	if len(f.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range f.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
		}
		details = append(details, bad)
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	s := status.New(codeOf[f.Kind], f.Message)
	if detailed, err := s.WithDetails(details...); err == nil {
		return detailed
	}
	return s
}
