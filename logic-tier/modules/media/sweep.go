package media

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/sweep"
)

const (
	// sweepInterval is short, so that the bytes of deleted files are soon gone. An idle sweep
	// costs two short queries.
	sweepInterval = 5 * time.Second
	// sweepTimeout bounds one sweep. The next sweep continues where it stopped.
	sweepTimeout = time.Minute
	// expireBatch is the number of uploads deleted per statement: an upload can have thousands
	// of segments.
	expireBatch = 20
)

// sweep deletes expired uploads, the bytes of deleted files and the work directories of killed
// processes, until ctx ends. Replicas share the work: none waits for rows that another has
// locked.
func (m *Module) sweep(ctx context.Context) error {
	loop := sweep.Loop{Name: "media: expired uploads and deleted files", Interval: sweepInterval, Timeout: sweepTimeout, AtStart: true, Log: m.deps.Log}
	return loop.Run(ctx, func(ctx context.Context) error {
		m.removeStaleWorkDirs()
		return m.sweepOnce(ctx)
	})
}

func (m *Module) removeStaleWorkDirs() {
	if err := m.scratch.removeStale(); err != nil {
		m.deps.Log.Warn("media: scratch directory (--scratch, SCRATCH) not usable: use one that can be created and written to; retrying", "folder", m.deps.Scratch, "error", err)
	}
}

// sweepOnce deletes all that can be deleted, in small transactions, and updates the total
// size of all files.
func (m *Module) sweepOnce(ctx context.Context) error {
	err := sweep.Batches(expireBatch, func(limit int64) (int64, error) { return m.store.deleteExpired(ctx, limit) })
	if err != nil {
		return err
	}
	for found := true; found; {
		var err error
		if found, err = m.store.purgeBatch(ctx, m.chunks); err != nil {
			return err
		}
	}
	total, err := m.store.totalBytes(ctx)
	if err == nil {
		m.totalBytes.Store(total)
	}
	return err
}
