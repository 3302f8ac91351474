// Package apperror defines the errors with which the logic tier rejects requests: a stable
// reason code, a message for users that includes the fix, and a kind that determines the
// gRPC status code.
package apperror

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies a failure. It determines the gRPC code.
type Kind int

// The kinds of failures. Kinds lists them all.
const (
	// Invalid means that the request breaks a rule. Repeating it does not help.
	Invalid Kind = iota + 1
	// Unauthenticated means that the caller is unknown.
	Unauthenticated
	// Denied means that the caller is known, and lacks permission.
	Denied
	// NotFound means that the requested resource does not exist.
	NotFound
	// Exists means that the resource to create exists already.
	Exists
	// Conflict means that a concurrent change invalidated the caller's state.
	Conflict
	// Exhausted means that a limit is reached. RetryAfter says when to retry.
	Exhausted
	// Unavailable means that a dependency did not answer. Nothing was changed.
	Unavailable
)

// Kinds lists all kinds.
var Kinds = []Kind{Invalid, Unauthenticated, Denied, NotFound, Exists, Conflict, Exhausted, Unavailable}

// Failure is an error that rejects a request.
type Failure struct {
	// Kind determines the gRPC code.
	Kind Kind
	// Reason is a stable code in UPPER_SNAKE_CASE for programs.
	Reason string
	// Message tells users what is wrong and how to fix it.
	Message string
	// Violations lists the invalid fields of the request.
	Violations []Violation
	// RetryAfter is the delay before a retry can succeed; 0 if retrying does not help.
	RetryAfter time.Duration
	// Cause is logged, and never sent to the client.
	Cause error
}

// Violation describes an invalid field of a request.
type Violation struct {
	// Field is the field's path in the request, such as "talk.speakers[2]".
	Field string
	// Description says how to fix it.
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

// Error returns the message, followed by the cause if there is one.
func (f *Failure) Error() string {
	if f.Cause != nil {
		return fmt.Sprintf("%s: %v", f.Message, f.Cause)
	}
	return f.Message
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Is reports whether target is a failure with the same reason. It lets errors.Is match
// copies made by RetryIn and Because.
func (f *Failure) Is(target error) bool {
	var other *Failure
	return errors.As(target, &other) && other.Reason == f.Reason
}

// RetryIn returns a copy of f with RetryAfter set to delay.
func (f *Failure) RetryIn(delay time.Duration) *Failure {
	g := *f
	g.RetryAfter = delay
	return &g
}

// Because returns a copy of f with a cause.
func (f *Failure) Because(cause error) *Failure {
	g := *f
	g.Cause = cause
	return &g
}
