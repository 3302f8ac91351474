package server

import (
	"context"
	"net"
	"slices"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// identify authenticates the calling program and the user it calls for, and rejects
// callers that the method's access rule does not allow. It returns a context that
// carries the caller.
func (s *Server) identify(ctx context.Context, method string) (context.Context, error) {
	r := s.rules[method]
	if r.infrastructure {
		return ctx, nil
	}
	program, ok := transport.PeerProgram(ctx)
	if !ok {
		return ctx, errProgramUnknown
	}
	if program == transport.LogicTier {
		// A module in another process is trusted like one in this process.
		program = caller.Module
	}
	if !slices.Contains(r.programs, program) {
		return ctx, errProgramDenied
	}
	call := caller.Call{Program: program, Address: clientAddress(ctx, program)}
	if token := singleValue(ctx, transport.SessionKey); token != "" && method != accountspb.Accounts_SignOut_FullMethodName {
		answer, err := s.sessions.VerifySession(ctx, &accountspb.VerifySessionRequest{Token: token})
		if err != nil {
			return ctx, err
		}
		call.Session = answer.SessionId
		call.Person = &caller.Person{ID: answer.Account.Id, Handle: answer.Account.Handle, Operator: answer.Account.Operator}
	} else if r.signedIn || (r.operator && program == transport.WebTier) {
		return ctx, errSessionRequired
	}
	if r.operator && call.Person != nil && !call.Person.Operator {
		return ctx, errOperatorRequired
	}
	return caller.With(ctx, call), nil
}

// clientAddress returns the browser's address as the web tier reports it; for other
// programs, the address the program connects from.
func clientAddress(ctx context.Context, program string) string {
	if program == transport.WebTier {
		return singleValue(ctx, transport.ClientAddressKey)
	}
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			return host
		}
	}
	return ""
}

// singleValue returns the value of a metadata key, or "" unless it was sent exactly once.
func singleValue(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}
