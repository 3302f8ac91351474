package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"techtalks.example/proto/transport"
)

// Handler processes one message. Returning nil acknowledges the message; an error
// has it redelivered to any consumer after a backoff; Reject dead-letters it. A
// handler can be called again for a message that already had its effect, and must
// then change nothing: create handlers with Idempotent. The context ends when the
// consumer drains or loses its lease on the message.
type Handler func(context.Context, Delivery) error

// Consumer configures the consumption of a queue.
type Consumer struct {
	// Queue is the queue's name.
	Queue string
	// Prefetch limits the messages leased and not yet acknowledged; 0 means 100.
	Prefetch int
	// Concurrency limits the running handlers; 0 means 4.
	Concurrency int
	// Lease is how long a message stays with a consumer that stopped renewing its
	// lease; 0 means 30 s, and the maximum is 5 minutes. A consumer renews its
	// leases after each third of that time.
	Lease time.Duration
	// Handle processes a message.
	Handle Handler
}

// WithDefaults returns c with defaults for its zero fields.
func (c Consumer) WithDefaults() Consumer {
	if c.Prefetch == 0 {
		c.Prefetch = 100
	}
	if c.Concurrency == 0 {
		c.Concurrency = 4
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	c.Lease = min(c.Lease, maxBackoff)
	return c
}

// MaxError limits the stored text of a handler's error, in bytes.
const MaxError = 2000

// ErrorText returns the text of a handler's error as it is stored, truncated to
// MaxError bytes.
func ErrorText(err error) string {
	text := err.Error()
	// Postgres stores neither invalid UTF-8 nor NUL.
	text = strings.ToValidUTF8(text[:min(len(text), MaxError)], "")
	return strings.ReplaceAll(text, "\x00", "")
}

// Call calls the handler with the message's trace in the context. It returns a
// panic as an error, so that it fails this message alone.
func (h Handler) Call(ctx context.Context, d Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if trace, ok := transport.ParseTrace(d.Traceparent); ok {
		ctx = transport.WithTrace(ctx, trace.Child())
	}
	return h(ctx, d)
}

type rejection struct{ cause error }

func (r rejection) Error() string { return r.cause.Error() }
func (r rejection) Unwrap() error { return r.cause }

// Reject returns an error that dead-letters a message at once, for messages that
// fail on every delivery.
func Reject(cause error) error { return rejection{cause} }

// IsRejected reports whether a handler's error rejects the message.
func IsRejected(err error) bool {
	var r rejection
	return errors.As(err, &r)
}

// Bounds of Backoff, before jitter. maxBackoff is also the longest lease.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Minute
)

// Backoff returns how long to wait before redelivering a message that was
// delivered count times. It doubles with each delivery, up to 5 minutes. Jitter of
// up to half of it spreads out messages that failed together.
func Backoff(count int) time.Duration {
	backoff := maxBackoff
	if count < 13 { // beyond, the shift passes maxBackoff anyway
		backoff = min(maxBackoff, minBackoff<<max(count-1, 0))
	}
	return backoff/2 + rand.N(backoff/2)
}
