package logicclient

import (
	"context"

	"google.golang.org/grpc"

	"techtalks.example/proto/transport"
)

// maxPasswordCalls bounds the calls with a password that wait for the logic tier,
// each of which holds the slot of a form: a quarter of the forms (server.mostForms),
// so that the others are not refused while passwords are hashed. The queue of one
// logic tier is as long.
const maxPasswordCalls = 64

// passwords bounds the calls whose request carries a password, and how many of them
// one client address can have.
type passwords struct{ shares *transport.Shares }

func newPasswords() passwords { return passwords{transport.NewShares(maxPasswordCalls)} }

func (p passwords) unary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if hashing[method] {
		c, _ := ctx.Value(callerKey{}).(Caller)
		if !p.shares.Acquire(c.Address) {
			return errThrottled()
		}
		defer p.shares.Release(c.Address)
	}
	return invoke(ctx, method, request, response, connection, options...)
}

// hashing are the methods that hash a password.
var hashing = methods(transport.TakesPassword)
