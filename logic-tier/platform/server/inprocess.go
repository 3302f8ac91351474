package server

import (
	"context"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/proto/transport"
)

// Channel returns the in-process connection over which modules call each other. Calls
// use the generated clients and are validated as over a network. The channel propagates
// deadline, cancellation and trace, and counts query time for the calling request.
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
			return toStatus(handle(server, &validatedStream{stream, asModule(stream.Context()), s}))
		})
}

// asModule returns ctx with the client's trace and query timer, and a module as caller.
func asModule(ctx context.Context) context.Context {
	client := inprocgrpc.ClientContext(ctx)
	if trace, ok := transport.TraceFrom(client); ok {
		ctx = transport.WithTrace(ctx, trace)
	}
	ctx = postgres.InheritQueryTimer(ctx, client)
	return caller.With(ctx, caller.Call{Program: caller.Module})
}
