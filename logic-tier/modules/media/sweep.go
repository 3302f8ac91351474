package media

import (
	"context"
	"time"
)

const (
	// sweepEvery: what is removed is soon gone, and looking for it costs two short
	// queries.
	sweepEvery = 5 * time.Second
	// sweepTimeout bounds one sweep; what it does not get to, the next does.
	sweepTimeout = time.Minute
	// expiredAtOnce bounds one statement: an upload may have thousands of parts.
	expiredAtOnce = 20
)

// sweep removes what has expired, and the bytes of what was removed, until ctx
// ends. Replicas share the work: none waits for what another has in hand.
func (m *Module) sweep(ctx context.Context) error {
	for {
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := m.sweepOnce(sweeping); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("media: what is no longer needed is not all removed; trying again", "error", err)
		}
		done()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		m.tidy()
	}
}

// tidy removes what killed processes left in the scratch folder.
func (m *Module) tidy() {
	if err := m.scratch.tidy(); err != nil {
		m.needs.Log.Warn("media: the folder for recordings (--scratch, SCRATCH) cannot be tidied: use one that can be made and written to; trying again", "folder", m.needs.Scratch, "error", err)
	}
}

// sweepOnce removes all there is to remove, in small steps, and counts what is left.
func (m *Module) sweepOnce(ctx context.Context) error {
	for removed := expiredAtOnce; removed == expiredAtOnce; {
		var err error
		if removed, err = m.store.removeExpired(ctx, expiredAtOnce); err != nil {
			return err
		}
	}
	for more := true; more; {
		var err error
		if more, err = m.store.eraseSome(ctx, m.storage); err != nil {
			return err
		}
	}
	total, err := m.store.total(ctx)
	if err == nil {
		m.total.Store(total)
	}
	return err
}
