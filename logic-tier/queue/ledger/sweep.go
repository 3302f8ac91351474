package ledger

import (
	"context"
	"log/slog"
	"time"

	"techtalks.example/logic-tier/postgres"
)

const (
	// handledLife is how long marks of what was handled are kept: over a message's
	// deliveries, which end after an hour or so, and over a broker's absence.
	handledLife = 24 * time.Hour
	// sweepEvery is how often what has expired is removed.
	sweepEvery = time.Minute
	// sweepTimeout bounds a statement of it.
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
		for _, s := range sweepStatements {
			sweeping, done := context.WithTimeout(ctx, sweepTimeout)
			err := sweep(sweeping, db, s.text, s.age)
			done()
			if err != nil && ctx.Err() == nil {
				log.Warn("queue: what has expired was not removed; trying again later", "error", err)
				break
			}
		}
	}
}
