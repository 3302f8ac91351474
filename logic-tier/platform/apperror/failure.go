// Package apperror is what the rules of the logic tier answer when they refuse:
// a value with a stable reason, a sentence for people, and what to do about it.
// Its gRPC status is made in one place: Status.
package apperror

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what sort of refusal a failure is; it decides the gRPC code.
type Kind int

// The kinds of refusal. Kinds ranges over them.
const (
	// Invalid: the request breaks a rule; the same again breaks it again.
	Invalid Kind = iota + 1
	// Unauthenticated: it is not known who is asking.
	Unauthenticated
	// Denied: it is known who is asking, and they may not.
	Denied
	// NotFound: what is asked for is not there.
	NotFound
	// Exists: what was to be made is there already.
	Exists
	// Conflict: somebody else was quicker; what the caller knew is no longer so.
	Conflict
	// Exhausted: a limit is reached; RetryAfter says when it may be over.
	Exhausted
	// Unavailable: a neighbour does not answer now; nothing was changed.
	Unavailable
)

// Kinds is every kind there is.
var Kinds = []Kind{Invalid, Unauthenticated, Denied, NotFound, Exists, Conflict, Exhausted, Unavailable}

// Failure is a refusal.
type Failure struct {
	// Kind decides the gRPC code.
	Kind Kind
	// Reason is UPPER_SNAKE_CASE and never changes: programs look at it.
	Reason string
	// Message is for people: what is wrong and what to do.
	Message string
	// Violations says which fields of the request are wrong.
	Violations []Violation
	// RetryAfter is when trying again makes sense; 0 when it does not.
	RetryAfter time.Duration
	// Cause is for the log, never for the caller.
	Cause error
}

// Violation is what is wrong with one field of a request.
type Violation struct {
	// Field is its path in the request, "talk.speakers[2]".
	Field string
	// Description says what to do about it.
	Description string
}

// New returns a failure.
func New(kind Kind, reason, message string) *Failure {
	return &Failure{Kind: kind, Reason: reason, Message: message}
}

// InvalidField returns an Invalid failure about one field.
func InvalidField(reason, field, description string) *Failure {
	return &Failure{
		Kind: Invalid, Reason: reason, Message: field + ": " + description,
		Violations: []Violation{{Field: field, Description: description}},
	}
}

// Error returns the message, and the cause when there is one.
func (f *Failure) Error() string {
	if f.Cause != nil {
		return fmt.Sprintf("%s: %v", f.Message, f.Cause)
	}
	return f.Message
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Is says whether target is a failure for the same reason, so that a package's
// failure values can be compared with errors.Is after they were filled in.
func (f *Failure) Is(target error) bool {
	var other *Failure
	return errors.As(target, &other) && other.Reason == f.Reason
}

// RetryIn returns a copy of f that says when to try again.
func (f *Failure) RetryIn(after time.Duration) *Failure {
	g := *f
	g.RetryAfter = after
	return &g
}

// Because returns a copy of f with a cause.
func (f *Failure) Because(cause error) *Failure {
	g := *f
	g.Cause = cause
	return &g
}
