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

// observeUnary is the outermost unary interceptor. It assigns the call a trace,
// measures its time, recovers from panics and writes the call's only log line.
func (s *Server) observeUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	start := time.Now()
	trace := transport.ReceiveTrace(ctx)
	queries := &postgres.QueryTimer{}
	ctx = postgres.WithQueryTimer(transport.WithTrace(ctx, trace), queries)

	response, cause := recoverPanic(func() (any, error) { return handle(ctx, request) })
	err = toStatus(cause)

	timing := transport.Timing{LogicHost: s.host, DataHost: s.dataHost(), Logic: time.Since(start), Data: queries.Duration()}
	_ = grpc.SetTrailer(ctx, timing.Trailer())
	s.logCall(ctx, info.FullMethod, trace, timing, cause, err)
	return response, err
}

// observeStream is observeUnary for streams. A stream's duration is its lifetime.
func (s *Server) observeStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	start := time.Now()
	trace := transport.ReceiveTrace(stream.Context())
	queries := &postgres.QueryTimer{}
	ctx := postgres.WithQueryTimer(transport.WithTrace(stream.Context(), trace), queries)

	_, cause := recoverPanic(func() (any, error) { return nil, handle(server, &validatedStream{stream, ctx, s}) })
	err := toStatus(cause)
	s.logCall(ctx, info.FullMethod, trace, transport.Timing{Logic: time.Since(start), Data: queries.Duration()}, cause, err)
	return err
}

// recoverPanic runs call and returns a panic as an error, so that it fails only this call.
func recoverPanic(call func() (any, error)) (response any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return call()
}

func (s *Server) logCall(ctx context.Context, method string, trace transport.Trace, timing transport.Timing, cause, err error) {
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
	case errors.Is(cause, errBusy):
		// Logging each rejection would add load during overload; server_refused_total
		// counts them.
		level = slog.LevelDebug
	}
	s.log.LogAttrs(ctx, level, "call", attributes...)
}

// validatedStream replaces a stream's context and validates the messages it receives.
type validatedStream struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
}

func (w *validatedStream) Context() context.Context { return w.ctx }

func (w *validatedStream) RecvMsg(message any) error {
	if err := w.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return w.server.validate(message)
}
