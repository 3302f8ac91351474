package transfers

import (
	"context"
	"time"
)

const (
	// kept is how long rejections can be listed: longer than an operation is kept
	// after its end, by the day that it may have taken.
	kept         = 8 * 24 * time.Hour
	sweepEvery   = time.Minute
	sweepTimeout = 10 * time.Second
	// sweepAtOnce bounds one statement, so that none locks or writes much.
	sweepAtOnce = 1000
)

// sweep removes what nobody can ask for any more until ctx ends.
func (m *Module) sweep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweeping); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("transfers: what is old is not all removed; trying again", "error", err)
		}
		done()
	}
}

// sweepOnce removes all that is old enough.
func (m *Module) sweepOnce(ctx context.Context) error {
	for _, statement := range []string{removeRejectionsStatement, removeArchivedStatement, removeImportsStatement, removeExportsStatement} {
		for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
			var err error
			if removed, err = m.store.remove(ctx, statement, kept, sweepAtOnce); err != nil {
				return err
			}
		}
	}
	return nil
}
