// Package caller carries the identity of a call's caller in its context. The server
// authenticates the caller before a module's code runs; modules only read the identity.
package caller

import (
	"context"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/proto/transport"
)

// Person is the signed-in account.
type Person struct {
	// ID is the account's number, with which modules reference it.
	ID int64
	// Handle is the last segment of the resource name "accounts/{handle}".
	Handle string
	// Operator reports whether the account belongs to an operator.
	Operator bool
}

// Name returns the account's resource name.
func (p Person) Name() string { return "accounts/" + p.Handle }

// Call is the identity of a call's caller.
type Call struct {
	// Program is the last segment of the calling program's SPIFFE ID, or Module for
	// calls between modules.
	Program string
	// Person is the signed-in account, or nil.
	Person *Person
	// Session is the number of the session, or 0.
	Session int64
	// Address is the browser's address as the web tier reports it; for other programs,
	// the address they connect from.
	Address string
}

type key struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// From returns the caller that ctx carries, or the zero Call.
func From(ctx context.Context) Call {
	c, _ := ctx.Value(key{}).(Call)
	return c
}

// PersonFrom returns the signed-in account. It reports false if the caller is not signed in,
// which cannot happen in methods whose access rule is PERSON_SIGNED_IN.
func PersonFrom(ctx context.Context) (Person, bool) {
	c := From(ctx)
	if c.Person == nil {
		return Person{}, false
	}
	return *c.Person, true
}

// AllAccounts is the account for callers that can access the data of every account: the
// operator and modules.
const AllAccounts = -1

var errSignIn = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "session required: sign in first")

// Account returns the account whose data the caller can access: the signed-in account, or
// AllAccounts for the operator and modules. The web tier without a session gets an error.
func Account(ctx context.Context) (int64, error) {
	c := From(ctx)
	switch {
	case c.Person != nil:
		return c.Person.ID, nil
	case c.Program == transport.Operator || c.Program == Module:
		return AllAccounts, nil
	}
	return 0, errSignIn
}

// Module is the program of calls between modules.
const Module = "module"
