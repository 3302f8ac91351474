package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/apperror"
)

// toStatus converts a handler's error to the gRPC status its client receives. An
// unexpected error, such as an SQL error, becomes INTERNAL without its text, which only
// the call's log line contains.
func toStatus(err error) error {
	var failure *apperror.Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failure):
		return failure.Status().Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the call exceeded its deadline; try again")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the client canceled the call")
	}
	if s, ok := status.FromError(err); ok {
		return s.Err() // from another module, already converted
	}
	return status.Error(codes.Internal, "internal error: see the logic tier's log for this call's trace ID")
}
