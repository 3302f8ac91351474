package ledger

import (
	"context"
	"log/slog"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

const (
	// handledLife is how long marks of what was handled are kept: over a message's
	// deliveries, which end after an hour or so, and over a broker's absence.
	handledLife = 24 * time.Hour
	// sweepEvery is how often what has expired, and is no longer looked at, is
	// removed.
	sweepEvery = 5 * time.Minute
	// sweepTimeout bounds the statement that does it.
	sweepTimeout = 30 * time.Second
)

// Sweep removes what has expired from time to time until ctx ends. Every process
// may: who comes second finds nothing.
func Sweep(ctx context.Context, db *postgres.DB, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := sweep(sweeping, db); err != nil && ctx.Err() == nil {
			log.Warn("queue: what has expired was not removed; trying again later", "error", err)
		}
		done()
	}
}
