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

var errDeadlineTooShort = apperror.New(apperror.Unavailable, "DEADLINE_TOO_SHORT", "deadline too short: no call finishes in the time left; use a longer deadline")

// longPolls are the unary methods that only wait for an event.
var longPolls = map[string]bool{"/" + operationsService + "/WaitOperation": true}

// admitUnary is the interceptor that bounds a call's deadline, acquires a slot for it,
// authenticates its caller and validates its request.
func (s *Server) admitUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	ctx, cancel, err := withBoundedDeadline(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	release, err := s.acquire(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	ctx, err = s.identify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if err = s.validate(request); err != nil {
		return nil, err
	}
	if !longPolls[info.FullMethod] {
		return handle(ctx, request)
	}
	ctx, finish := s.untilSessionEnds(ctx)
	response, err = handle(ctx, request)
	return response, finish(err)
}

// untilSessionEnds returns a context that is cancelled when the caller's session ends.
// finish releases it, and replaces the handler's error by sessions.ErrEnded if that
// caused it.
func (s *Server) untilSessionEnds(ctx context.Context) (signedIn context.Context, finish func(error) error) {
	if s.watch == nil {
		return ctx, func(err error) error { return err }
	}
	ctx, cancel := context.WithCancelCause(ctx)
	remove := s.watch.Add(caller.From(ctx).Session, func() { cancel(sessions.ErrEnded) })
	return ctx, func(err error) error {
		remove()
		if err != nil && errors.Is(context.Cause(ctx), sessions.ErrEnded) {
			err = sessions.ErrEnded
		}
		cancel(nil)
		return err
	}
}

// acquire acquires a slot for a call of method. The call passes its error to release.
// Health and reflection need no slot: they are cheap, and must succeed under overload.
func (s *Server) acquire(ctx context.Context, method string) (release func(error), err error) {
	if s.rules[method].infrastructure {
		return func(error) {}, nil
	}
	if longPolls[method] {
		select {
		case s.longPolls <- struct{}{}:
			return func(error) { <-s.longPolls }, nil
		default:
			return nil, errBusy.RetryIn(busyRetryDelay)
		}
	}
	program, _ := transport.PeerProgram(ctx)
	address := clientAddress(ctx, program)
	if s.rules[method].password {
		if err := s.passwords.acquire(ctx, address); err != nil {
			if errors.Is(err, errBusy) {
				s.admission.rejected.WithLabelValues("password").Inc()
			}
			return nil, err
		}
		return func(error) { s.passwords.release(address) }, nil
	}
	webWrite := program == transport.WebTier && !s.rules[method].reads
	if webWrite && !s.changes.Acquire(address) {
		s.admission.rejected.WithLabelValues(classNames[change]).Inc()
		return nil, errBusy.RetryIn(busyRetryDelay)
	}
	slot, err := s.admission.acquire(s.classOf(program, method, singleValue(ctx, transport.SessionKey) != ""))
	if err != nil {
		if webWrite {
			s.changes.Release(address)
		}
		return nil, err
	}
	return func(err error) {
		slot.release(err == nil)
		if webWrite {
			s.changes.Release(address)
		}
	}, nil
}

// withBoundedDeadline returns a context with the deadline the server works to: the
// client's less a margin, or the default.
func withBoundedDeadline(ctx context.Context) (context.Context, context.CancelFunc, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, defaultDeadline)
		return ctx, cancel, nil
	}
	remaining := time.Until(deadline)
	if remaining < minDeadline {
		return nil, nil, errDeadlineTooShort
	}
	remaining = min(remaining, maxDeadline)
	ctx, cancel := context.WithTimeout(ctx, remaining-min(remaining/20, deadlineMargin))
	return ctx, cancel, nil
}

// admitStream is admitUnary for streams, whose only deadline is the client's.
func (s *Server) admitStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx := stream.Context()
	program, _ := transport.PeerProgram(ctx)
	release, err := s.streams.acquire(singleValue(ctx, transport.SessionKey) != "", clientAddress(ctx, program))
	if err != nil {
		return err
	}
	defer release()
	if ctx, err = s.identify(ctx, info.FullMethod); err != nil {
		return err
	}
	release, err = s.streams.acquireForAccount(caller.From(ctx).Person)
	if err != nil {
		return err
	}
	defer release()
	ctx, finish := s.untilSessionEnds(ctx)
	return finish(handle(server, &validatedStream{stream.(*validatedStream).ServerStream, ctx, s}))
}
