package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/proto/transport"
)

// observeUnary is the outermost of what a call passes through: it gives it a
// trace, counts its time, answers for its panics, and writes its one log line.
func (s *Server) observeUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	began := time.Now()
	trace := transport.ReceiveTrace(ctx)
	spent := &postgres.Spent{}
	ctx = postgres.CountInto(transport.WithTrace(ctx, trace), spent)

	response, cause := guard(func() (any, error) { return handle(ctx, request) })
	err = toStatus(cause)

	timing := transport.Timing{LogicHost: s.host, DataHost: s.dataHost(), Logic: time.Since(began), Data: spent.Duration()}
	_ = grpc.SetTrailer(ctx, timing.Trailer())
	s.record(ctx, info.FullMethod, trace, timing, cause, err)
	return response, err
}

// observeStream does the same for a stream, whose time is the time it was open.
func (s *Server) observeStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	began := time.Now()
	trace := transport.ReceiveTrace(stream.Context())
	spent := &postgres.Spent{}
	ctx := postgres.CountInto(transport.WithTrace(stream.Context(), trace), spent)

	_, cause := guard(func() (any, error) { return nil, handle(server, &wrapped{stream, ctx, s}) })
	err := toStatus(cause)
	s.record(ctx, info.FullMethod, trace, transport.Timing{Logic: time.Since(began), Data: spent.Duration()}, cause, err)
	return err
}

// guard turns a panic into an error of this call alone.
func guard(call func() (any, error)) (response any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return call()
}

func (s *Server) record(ctx context.Context, method string, trace transport.Trace, timing transport.Timing, cause, err error) {
	code := status.Code(err)
	s.metrics.calls.WithLabelValues(method, code.String()).Observe(timing.Logic.Seconds())
	level := slog.LevelInfo
	attributes := []slog.Attr{
		slog.String("method", method), slog.String("code", code.String()),
		slog.Duration("logic", timing.Logic), slog.Duration("data", timing.Data), slog.String("trace", trace.ID()),
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", cause.Error()))
	}
	switch {
	case code == codes.Internal || code == codes.Unknown:
		level = slog.LevelError
	case errors.Is(cause, errFull):
		// A line for each would take what room there is; server_refused_total counts.
		level = slog.LevelDebug
	}
	s.log.LogAttrs(ctx, level, "call", attributes...)
}

// wrapped is a stream with another context, whose messages are validated.
type wrapped struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
}

func (w *wrapped) Context() context.Context { return w.ctx }

func (w *wrapped) RecvMsg(message any) error {
	if err := w.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return w.server.validate(message)
}
