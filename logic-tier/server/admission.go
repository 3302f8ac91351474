package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/failure"
)

var (
	errFull = failure.New(failure.Exhausted, "SERVER_BUSY", "the server has as many calls under way as it takes; try again in a moment").RetryIn(retryWhenFull)
	errLate = failure.New(failure.Unavailable, "DEADLINE_TOO_SHORT", "less time is left than any answer takes; call with a longer deadline")
)

// waiting are the calls that do nothing but wait for something to happen.
var waiting = map[string]bool{"/" + handlesService + "/WaitOperation": true}

// admitUnary lets a call in when there is room and time for it, and finds out
// who makes it.
func (s *Server) admitUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, cancel, err := withinDeadline(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	room := s.calls
	if waiting[info.FullMethod] {
		room = s.waits
	}
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	default:
		return nil, errFull
	}
	ctx, err = s.identify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if err := s.validate(request); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

// withinDeadline gives a call the deadline it works to: its caller's, less a
// margin, or the default.
func withinDeadline(ctx context.Context) (context.Context, context.CancelFunc, error) {
	deadline, given := ctx.Deadline()
	if !given {
		ctx, cancel := context.WithTimeout(ctx, deadlineDefault)
		return ctx, cancel, nil
	}
	left := time.Until(deadline)
	if left < deadlineFloor {
		return nil, nil, errLate
	}
	left = min(left, deadlineCeiling)
	ctx, cancel := context.WithTimeout(ctx, left-min(left/20, deadlineMargin))
	return ctx, cancel, nil
}

// admitStream does the same for a stream; it has no deadline but its caller's.
func (s *Server) admitStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return errFull
	}
	ctx, err := s.identify(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handle(server, &wrapped{stream.(*wrapped).ServerStream, ctx, s})
}
