package ledger

import (
	"context"
	"log/slog"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

const (
	// handledLifetime is how long marks of handled messages are stored: longer than
	// the backoffs of a message, which add up to less than an hour, and longer than
	// a broker is likely to be unavailable.
	handledLifetime = 24 * time.Hour
	// sweepInterval is the time between sweeps. Expired rows are ignored before
	// they are deleted.
	sweepInterval = 5 * time.Minute
	// sweepTimeout bounds one sweep.
	sweepTimeout = 30 * time.Second
)

// Sweep deletes expired rows from time to time until ctx ends. Every process can
// run it: sweeps are idempotent.
func Sweep(ctx context.Context, db *postgres.DB, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepInterval):
		}
		sweepCtx, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := sweep(sweepCtx, db); err != nil && ctx.Err() == nil {
			log.Warn("queue: cannot delete expired rows; retrying later", "error", err)
		}
		cancel()
	}
}
