package logicclient

import (
	"context"

	"google.golang.org/grpc"

	"techtalks.example/proto/transport"
)

// maxPasswordCalls limits the calls with a password that wait for the logic tier, each of
// which holds the slot of a form. It is a quarter of the form slots (package server), so
// that other forms are not shed while passwords are hashed, and as long as the queue of one
// logic tier.
const maxPasswordCalls = 64

// passwordCalls limits the calls whose request carries a password, in total and for each
// client address.
type passwordCalls struct{ shares *transport.Shares }

func newPasswordCalls() passwordCalls {
	return passwordCalls{transport.NewShares(maxPasswordCalls)}
}

func (p passwordCalls) unary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if passwordMethods[method] {
		c, _ := ctx.Value(callerKey{}).(Caller)
		if !p.shares.Acquire(c.Address) {
			return errThrottled()
		}
		defer p.shares.Release(c.Address)
	}
	return invoke(ctx, method, request, response, connection, options...)
}

// passwordMethods is the set of methods that hash a password.
var passwordMethods = methodsWhere(transport.TakesPassword)
