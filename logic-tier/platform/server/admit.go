package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/sessions"
	"techtalks.example/proto/transport"
)

var errLate = apperror.New(apperror.Unavailable, "DEADLINE_TOO_SHORT", "less time is left than any answer takes; call with a longer deadline")

// waiting are the calls that do nothing but wait for something to happen.
var waiting = map[string]bool{"/" + handlesService + "/WaitOperation": true}

// admitUnary lets a call in when there is room and time for it, and finds out
// who makes it.
func (s *Server) admitUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	ctx, cancel, err := withinDeadline(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	out, err := s.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer func() { out(err) }()
	ctx, err = s.identify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if err = s.validate(request); err != nil {
		return nil, err
	}
	if !waiting[info.FullMethod] {
		return handle(ctx, request)
	}
	ctx, settle := s.whileSignedIn(ctx)
	response, err = handle(ctx, request)
	return response, settle(err)
}

// whileSignedIn returns a context that ends with the session of the call, and what
// says why the call failed.
func (s *Server) whileSignedIn(ctx context.Context) (signedIn context.Context, settle func(error) error) {
	if s.watch == nil {
		return ctx, func(err error) error { return err }
	}
	ctx, end := context.WithCancelCause(ctx)
	remove := s.watch.Add(caller.From(ctx).Session, func() { end(sessions.ErrEnded) })
	return ctx, func(err error) error {
		remove()
		if err != nil && errors.Is(context.Cause(ctx), sessions.ErrEnded) {
			err = sessions.ErrEnded
		}
		end(nil)
		return err
	}
}

// enter finds a place for a call; what it returns gives it back.
func (s *Server) enter(ctx context.Context, method string) (out func(error), err error) {
	if s.rules[method].standard {
		// Health and reflection: they cost nothing, and must be answered above all.
		return func(error) {}, nil
	}
	if waiting[method] {
		select {
		case s.waits <- struct{}{}:
			return func(error) { <-s.waits }, nil
		default:
			return nil, errFull.RetryIn(retryWhenFull)
		}
	}
	program, _ := transport.PeerProgram(ctx)
	address := address(ctx, program)
	if s.rules[method].password {
		if err := s.passwords.acquire(ctx, address); err != nil {
			if errors.Is(err, errFull) {
				s.room.refused.WithLabelValues("password").Inc()
			}
			return nil, err
		}
		return func(error) { s.passwords.release(address) }, nil
	}
	shared := program == transport.WebTier && !s.rules[method].reads
	if shared && !s.changes.Acquire(address) {
		s.room.refused.WithLabelValues(classes[change]).Inc()
		return nil, errFull.RetryIn(retryWhenFull)
	}
	place, err := s.room.enter(s.classOf(program, method, one(ctx, transport.SessionKey) != ""))
	if err != nil {
		if shared {
			s.changes.Release(address)
		}
		return nil, err
	}
	return func(err error) {
		place.leave(err == nil)
		if shared {
			s.changes.Release(address)
		}
	}, nil
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
	ctx := stream.Context()
	program, _ := transport.PeerProgram(ctx)
	release, err := s.streams.enter(one(ctx, transport.SessionKey) != "", address(ctx, program))
	if err != nil {
		return err
	}
	defer release()
	if ctx, err = s.identify(ctx, info.FullMethod); err != nil {
		return err
	}
	release, err = s.streams.enterAs(caller.From(ctx).Person)
	if err != nil {
		return err
	}
	defer release()
	ctx, settle := s.whileSignedIn(ctx)
	return settle(handle(server, &wrapped{stream.(*wrapped).ServerStream, ctx, s}))
}
