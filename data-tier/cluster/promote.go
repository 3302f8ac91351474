package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// promoteTimeout bounds a promotion, which first replays the WAL received.
	promoteTimeout = 10 * time.Minute

	// Marker files in the data directory: a promotion has started, or is complete.
	// An interrupted promotion is finished by the next Promote or start.
	promotingMark = "promoting"
	promotedMark  = "promoted"
)

// Promotion is the result of Promote.
type Promotion struct {
	// Unreplayed is the number of bytes of WAL that were received and not yet
	// replayed when the promotion began. All of them were replayed.
	Unreplayed int64
	// LastCommit is when the previous primary committed the last transaction that
	// this standby received; zero if it received none since it started.
	LastCommit time.Time
	Timeline   int
	Took       time.Duration
}

const standbyStatement = `
select pg_is_in_recovery(),
       coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
       exists (select from pg_stat_wal_receiver where status = 'streaming')`

const promotedStatement = `
select pg_last_xact_replay_timestamp(), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int`

// Promote makes the standby that serves a data directory the primary, with a new
// epoch: replication is asynchronous, so the last commits of the previous primary
// can be lost. Unless forced, it fails while the primary still sends WAL, because
// there would be two primaries. It finishes a promotion that was interrupted.
func Promote(ctx context.Context, directory string, force bool) (Promotion, error) {
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, promoteTimeout)
	defer done()
	var p Promotion
	c := &Cluster{options: Options{Directory: directory}}
	var err error
	if c.account, err = serverAccount(); err != nil {
		return p, err
	}
	err = onSocket(directory, "postgres", func(db *sql.DB) error {
		var standby, streaming bool
		if err := db.QueryRowContext(ctx, standbyStatement).Scan(&standby, &p.Unreplayed, &streaming); err != nil {
			return err
		}
		switch {
		case !standby && !c.has(promotingMark):
			return fmt.Errorf("%s already belongs to a primary: promote on the host of a standby", directory)
		case standby && streaming && !force:
			return errors.New("the primary still sends WAL: stop it first, then promote; two primaries would accept writes that cannot be merged (--force promotes anyway)")
		case standby:
			if err := c.write(promotingMark, nil); err != nil {
				return err
			}
			var promoted bool
			if err := db.QueryRowContext(ctx, `select pg_promote(true, $1)`, int(promoteTimeout.Seconds())).Scan(&promoted); err != nil || !promoted {
				return fmt.Errorf("promote: %w", errors.Join(err, errors.New("the standby is not the primary yet: try again")))
			}
		}
		var lastCommit sql.NullTime
		err := db.QueryRowContext(ctx, promotedStatement).Scan(&lastCommit, &p.Timeline)
		p.LastCommit = lastCommit.Time
		return err
	})
	if err != nil {
		return p, err
	}
	err = c.finishPromotion(ctx)
	p.Took = time.Since(began)
	return p, err
}

// finishPromotion completes a promotion after Postgres has become the primary.
func (c *Cluster) finishPromotion(ctx context.Context) error {
	if !c.has(promotingMark) {
		return nil
	}
	if err := newEpoch(ctx, c.options.Directory); err != nil {
		return err
	}
	// The checkpoint writes the new timeline to the control file, where a former
	// primary that rejoins reads it.
	checkpoint := func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `checkpoint`)
		return err
	}
	if err := onSocket(c.options.Directory, "postgres", checkpoint); err != nil {
		return fmt.Errorf("checkpoint after the promotion: %w", err)
	}
	return os.Rename(filepath.Join(c.options.Directory, promotingMark), filepath.Join(c.options.Directory, promotedMark))

}
