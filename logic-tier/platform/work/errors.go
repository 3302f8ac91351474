package work

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/apperror"
)

// statusRetriesExhausted is the error that users see when every retry failed.
var statusRetriesExhausted = status.New(codes.Internal, "something went wrong on our side, several times; try again later")

// isNotFound reports whether the operations module no longer has the operation. Its
// worker then has nothing left to do or report.
func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// statusOf returns the gRPC status of err: the response of another module, or an
// apperror.Failure. It reports false for any other error.
func statusOf(err error) (*status.Status, bool) {
	var failure *apperror.Failure
	if errors.As(err, &failure) {
		return failure.Status(), true
	}
	return status.FromError(err)
}

// permanentStatus returns the status with which err fails an operation. It reports
// false when a retry may succeed.
func permanentStatus(err error) (*status.Status, bool) {
	s, ok := statusOf(err)
	if !ok {
		return nil, false
	}
	switch s.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange, codes.Unauthenticated:
		return s, true
	}
	return s, false
}

// isTransient reports whether the work is not to blame for err: another module was
// unavailable, was overloaded and sent a retry delay, or another worker of the
// operation interfered.
func isTransient(err error) bool {
	s, ok := statusOf(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.Unavailable, codes.Aborted:
		return true
	case codes.ResourceExhausted:
		return slices.ContainsFunc(s.Details(), func(detail any) bool {
			_, ok := detail.(*errdetails.RetryInfo)
			return ok
		})
	}
	return false
}

// IsPermanent reports whether err, returned by Worker.Do, fails the operation without
// a retry.
func IsPermanent(err error) bool {
	_, permanent := permanentStatus(err)
	return permanent
}

// Cancelled reports whether the context of Worker.Do ended because the operation is
// being cancelled. No other worker will resume it, so checkpoints and intermediate
// results can be deleted.
func Cancelled(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errCancelled) }
