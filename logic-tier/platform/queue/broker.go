package queue

import (
	"context"
	"errors"
	"time"
)

// Broker is an engine: postgresqueue's or rabbitqueue's.
type Broker interface {
	Publisher

	// Declare makes the exchanges, queues and bindings that are not there yet, and
	// removes bindings of the named queues that are no longer declared. What
	// differs from what is there in a way that cannot be changed, such as an
	// exchange of another type, is an error that IsPermanent.
	Declare(ctx context.Context, topologies ...Topology) error

	// Consume delivers a queue's messages to c.Handle until ctx ends; then it
	// takes no more, waits for the handlers under way, whose contexts have ended,
	// and puts back what they did not finish. It survives a broker and a database
	// that are away. A queue that is not declared yet is waited for.
	Consume(ctx context.Context, c Consumer) error

	// Run does what the engine does beside until ctx ends: without it nothing is
	// shipped, and nobody is woken.
	Run(ctx context.Context) error

	// Depths says how much waits in each queue; of an exclusive queue, in all its
	// consumers' together. At most a few milliseconds' work.
	Depths(ctx context.Context) (map[string]Depth, error)

	// Redrive takes dead letters of a queue out and delivers them anew, as if for
	// the first time; no ids means all of them. Those that no binding matched go
	// through their exchange again. It returns how many there were.
	Redrive(ctx context.Context, queue string, ids []int64) (int, error)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that no waiting mends: a topology that cannot be, a
// broker that refuses this program.
func Permanent(err error) error { return permanent{err} }

// IsPermanent says whether an error is marked as Permanent.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// Depth is how much waits in a queue.
type Depth struct {
	// Ready may be delivered now.
	Ready int64
	// Delayed wait for their time: a delay, or a pause before a retry.
	Delayed int64
	// Unacknowledged are with consumers.
	Unacknowledged int64
	// Oldest is when the first of them was published; zero when there is none, or
	// the engine does not know.
	Oldest time.Time
}
