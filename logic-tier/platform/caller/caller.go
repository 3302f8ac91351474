// Package caller says who a call is made by and for. The server finds it out
// before a module's code runs; a module only reads it.
package caller

import (
	"context"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/proto/transport"
)

// Person is who a call is made for.
type Person struct {
	// ID is the account's number, by which modules know it.
	ID int64
	// Handle is the last part of its name, "accounts/{handle}".
	Handle string
	// Operator says whether the account is an operator's.
	Operator bool
}

// Name returns the account's resource name.
func (p Person) Name() string { return "accounts/" + p.Handle }

// Call is who makes a call, for whom.
type Call struct {
	// Program is the last part of the SPIFFE ID of the calling program, or Module
	// for a call from within the logic tier.
	Program string
	// Person is nil when nobody is signed in.
	Person *Person
	// Session is the number of the person's session; 0 without one.
	Session int64
	// Address is the browser's, as the web tier saw it; for other programs the
	// address they connect from.
	Address string
}

type key struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// From returns who makes the call; the zero Call when nobody was found out.
func From(ctx context.Context) Call {
	c, _ := ctx.Value(key{}).(Call)
	return c
}

// PersonFrom returns who the call is made for; false when nobody is signed in.
// For methods whose access rule says PERSON_SIGNED_IN it is never false.
func PersonFrom(ctx context.Context) (Person, bool) {
	c := From(ctx)
	if c.Person == nil {
		return Person{}, false
	}
	return *c.Person, true
}

// Everybody is whose things the operator and modules see.
const Everybody = -1

var errSignIn = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "sign in first")

// Account returns for whose account the call is made: the signed-in person's, or
// Everybody's for the operator and for modules, who know of none. The web tier is
// nobody without a person.
func Account(ctx context.Context) (int64, error) {
	c := From(ctx)
	switch {
	case c.Person != nil:
		return c.Person.ID, nil
	case c.Program == transport.Operator || c.Program == Module:
		return Everybody, nil
	}
	return 0, errSignIn
}

// Module is the program of a call from within the logic tier.
const Module = "module"
