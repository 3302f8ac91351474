package server

import (
	"context"
	"net"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// identify finds out who makes a call and for whom, and refuses those that the
// method's rule does not admit.
func (s *Server) identify(ctx context.Context, method string) (context.Context, error) {
	r := s.rules[method]
	if r.standard {
		return ctx, nil
	}
	program, ok := transport.PeerProgram(ctx)
	if !ok {
		return ctx, errNoProgram
	}
	if program == transport.LogicTier {
		// A module in another process: as close as one in this.
		program = caller.Module
	}
	if !r.admits(program) {
		return ctx, errProgram
	}
	call := caller.Call{Program: program, Address: address(ctx, program)}
	if token := one(ctx, transport.SessionKey); token != "" && method != accountspb.Accounts_SignOut_FullMethodName {
		answer, err := s.sessions.VerifySession(ctx, &accountspb.VerifySessionRequest{Token: token})
		if err != nil {
			return ctx, err
		}
		call.Session = answer.SessionId
		call.Person = &caller.Person{ID: answer.Account.Id, Handle: answer.Account.Handle, Operator: answer.Account.Operator}
	} else if r.signedIn || (r.operator && program == transport.WebTier) {
		return ctx, errNoSession
	}
	if r.operator && call.Person != nil && !call.Person.Operator {
		return ctx, errNoOperator
	}
	return caller.With(ctx, call), nil
}

func (r rule) admits(program string) bool {
	for _, p := range r.programs {
		if p == program {
			return true
		}
	}
	return false
}

// address returns where the browser is: as the web tier says, or else where the
// program itself is.
func address(ctx context.Context, program string) string {
	if program == transport.WebTier {
		return one(ctx, transport.ClientAddressKey)
	}
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			return host
		}
	}
	return ""
}

// one returns a metadata value that was sent exactly once.
func one(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}
