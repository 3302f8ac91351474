package queue

import (
	"context"
	"errors"
	"time"
)

// Broker is an engine of the queue. postgresqueue and rabbitqueue implement it.
type Broker interface {
	Publisher

	// Declare creates the exchanges, queues and bindings that do not exist yet, and
	// deletes bindings of the declared queues that are no longer declared. It
	// returns a Permanent error if an existing exchange or queue differs in a way
	// that cannot be changed, such as the type of an exchange.
	Declare(ctx context.Context, topologies ...Topology) error

	// Consume delivers a queue's messages to c.Handle until ctx ends. Then it
	// drains: it fetches nothing more, waits for the running handlers, whose
	// contexts have ended, and returns unfinished messages to the queue. While the
	// broker or the database is unavailable, or the queue is not declared yet, it
	// keeps retrying.
	Consume(ctx context.Context, c Consumer) error

	// Run runs the engine's background work until ctx ends. Without it no outbox
	// is shipped and no consumer is notified of new messages.
	Run(ctx context.Context) error

	// Depths returns the depth of each queue, by name; of an exclusive queue, the
	// sum over its consumers. It takes a few milliseconds at most.
	Depths(ctx context.Context) (map[string]Depth, error)

	// Redrive moves the dead letters of a queue with these ids, or all of them if
	// ids is empty, back to the queue, with a delivery count of zero. Unroutable
	// messages are published to their exchange again. It returns how many dead
	// letters it moved.
	Redrive(ctx context.Context, queue string, ids []int64) (int, error)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err as one that retrying cannot fix: an invalid topology, a
// broker that rejects this program's credentials.
func Permanent(err error) error { return permanent{err} }

// IsPermanent reports whether err is marked as Permanent.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// Depth counts the messages of a queue by state.
type Depth struct {
	// Ready counts the messages that can be delivered now.
	Ready int64
	// Delayed counts the messages whose delay or retry backoff has not elapsed.
	Delayed int64
	// Unacknowledged counts the messages that consumers hold.
	Unacknowledged int64
	// Oldest is when the oldest of them was published; zero if the queue is empty
	// or the engine does not know.
	Oldest time.Time
}
