package server

import (
	"context"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/proto/transport"
)

// Channel is how a module is called from the same process: through
// the generated client, validated and refused as over a network, without one.
// It carries the deadline, cancellation, trace and the time spent on queries.
func (s *Server) Channel() grpc.ClientConnInterface { return s.channel }

func (s *Server) newChannel() *inprocgrpc.Channel {
	return new(inprocgrpc.Channel).
		WithServerUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := s.validate(request); err != nil {
				return nil, toStatus(err)
			}
			response, err := handle(asModule(ctx), request)
			return response, toStatus(err)
		}).
		WithServerStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return toStatus(handle(server, &wrapped{stream, asModule(stream.Context()), s}))
		})
}

func asModule(ctx context.Context) context.Context {
	from := inprocgrpc.ClientContext(ctx)
	if trace, ok := transport.TraceFrom(from); ok {
		ctx = transport.WithTrace(ctx, trace)
	}
	ctx = postgres.CountAlso(ctx, from)
	return caller.With(ctx, caller.Call{Program: caller.Module})
}
