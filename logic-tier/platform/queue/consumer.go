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

// Handler works one message. Returning nil acknowledges it; an error puts it
// back, to be delivered again after a pause, to anybody; Reject sends it to the
// dead letters. It may be called again for a message whose effect is there
// already, and must then change nothing: Idempotent makes handlers. The context
// ends when the consumer drains or has lost the message.
type Handler func(context.Context, Delivery) error

// Consumer says how a queue is consumed.
type Consumer struct {
	// Queue is its name.
	Queue string
	// Prefetch bounds the messages leased and not yet acknowledged; 0 means 100.
	Prefetch int
	// Concurrency bounds the handlers under way; 0 means 4.
	Concurrency int
	// Lease is how long a message stays with a consumer that no longer says it
	// works on it; 0 means 30 s, and it is 5 minutes at most. It is extended every
	// third of that.
	Lease time.Duration
	// Handle works a message.
	Handle Handler
}

// WithDefaults returns c with its zero fields filled in.
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
	c.Lease = min(c.Lease, longPause)
	return c
}

// MaxError bounds what is kept of a handler's error, in bytes.
const MaxError = 2000

// ErrorText returns what is kept of a handler's error.
func ErrorText(err error) string {
	text := err.Error()
	// Postgres stores neither half a character nor NUL.
	text = strings.ToValidUTF8(text[:min(len(text), MaxError)], "")
	return strings.ReplaceAll(text, "\x00", "")
}

// Call calls the handler with a message's trace; its panic is an error of this
// message alone.
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

// Reject returns an error that sends a message to the dead letters at once:
// for one that no number of tries will mend.
func Reject(cause error) error { return rejection{cause} }

// Rejected says whether a handler's error rejects the message.
func Rejected(err error) bool {
	var r rejection
	return errors.As(err, &r)
}

// Pause before a message is delivered again; longPause is the longest lease too.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Minute
)

// Backoff returns the pause before a message that was delivered count times is
// delivered again: doubled each time, bounded, and between half of it and all
// of it by chance, so that messages that failed together do not come back
// together.
func Backoff(count int) time.Duration {
	pause := longPause
	if count < 13 {
		pause = min(longPause, firstPause<<max(count-1, 0))
	}
	return pause/2 + rand.N(pause/2)
}
