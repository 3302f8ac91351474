package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/apperror"
)

// toStatus turns what a call returned into the status its caller gets. What is
// nobody's business (an SQL error) becomes INTERNAL without a word of it; the
// log line of the call has it.
func toStatus(err error) error {
	var refused *apperror.Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused.Status().Err()
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
