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

// errTried: what people read of work that failed again and again.
var errTried = status.New(codes.Internal, "something went wrong on our side, several times; try it again in a while")

// gone says that a neighbour no longer knows the operation: it was removed, and
// there is nothing left to do or to tell.
func gone(err error) bool { return status.Code(err) == codes.NotFound }

// statusOf returns what a neighbour answered or a rule refused with; false for an error
// that is neither.
func statusOf(err error) (*status.Status, bool) {
	var refused *apperror.Failure
	if errors.As(err, &refused) {
		return refused.Status(), true
	}
	return status.FromError(err)
}

// refusal returns how an operation ends that was refused; false when trying again
// may mend it.
func refusal(err error) (*status.Status, bool) {
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

// passing says whether an error tells nothing about the work: a neighbour was away, or
// busy and said when to come back, or another worker of the operation was in the way.
func passing(err error) bool {
	s, ok := statusOf(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.Unavailable, codes.Aborted:
		return true
	case codes.ResourceExhausted:
		return slices.ContainsFunc(s.Details(), func(detail any) bool {
			_, says := detail.(*errdetails.RetryInfo)
			return says
		})
	}
	return false
}

// Refused says whether an error of a work ends its operation: it is not tried
// again.
func Refused(err error) bool {
	_, final := refusal(err)
	return final
}

// Cancelled says whether the context of a work ended because its operation is to
// be cancelled: then what it kept for going on elsewhere is of no use any more.
func Cancelled(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errCancelled) }
