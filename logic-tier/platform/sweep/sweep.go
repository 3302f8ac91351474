// Package sweep deletes expired rows in the background, in batches small enough that no
// statement locks many rows or takes long.
package sweep

import (
	"context"
	"log/slog"
	"time"
)

// Loop is a periodic sweep. Replicas can run the same one.
type Loop struct {
	// Name says in the log what is swept, as in "talks: expired drafts".
	Name     string
	Interval time.Duration
	// Timeout bounds one sweep. The next one continues where it stopped.
	Timeout time.Duration
	// AtStart makes Run begin with a sweep.
	AtStart bool
	Log     *slog.Logger
}

// Run calls once after every interval until ctx is cancelled, and then returns nil. Errors are
// logged; the next call is the retry.
func (l Loop) Run(ctx context.Context, once func(context.Context) error) error {
	if l.AtStart {
		l.run(ctx, once)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(l.Interval):
		}
		l.run(ctx, once)
	}
}

func (l Loop) run(ctx context.Context, once func(context.Context) error) {
	sweepCtx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	if err := once(sweepCtx); err != nil && ctx.Err() == nil {
		l.Log.Warn("sweep failed; retrying", "sweep", l.Name, "error", err)
	}
}

// Batches calls remove, with size as its limit, until it removes fewer rows, so that a sweep keeps up with
// any rate of new ones.
func Batches(size int64, remove func(limit int64) (removed int64, err error)) error {
	for {
		removed, err := remove(size)
		if err != nil || removed < size {
			return err
		}
	}
}
