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
	// promoteTime bounds a promotion: what was received is replayed first.
	promoteTime = 10 * time.Minute

	// Files of the data directory. A promotion is begun, and done; one that is
	// interrupted in between is finished by whoever comes next.
	promotingMark = "promoting"
	promotedMark  = "promoted"
)

// Promotion is what there is to know of a promotion.
type Promotion struct {
	// Unreplayed is how many bytes of WAL were received and not yet replayed
	// when it began. All of them were replayed.
	Unreplayed int64
	// LastCommit is when the last transaction that arrived was committed on the
	// primary before; zero when none did since this standby started.
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

// Promote makes the standby that serves on a data directory the primary, with a
// new epoch: replication is asynchronous, and what the primary before committed
// last may be lost. It is refused while that one still sends WAL, unless forced:
// there would be two. One that was interrupted is finished by another.
func Promote(ctx context.Context, directory string, force bool) (Promotion, error) {
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, promoteTime)
	defer done()
	var is Promotion
	c := &Cluster{options: Options{Directory: directory}}
	var err error
	if c.account, err = serverAccount(); err != nil {
		return is, err
	}
	err = onSocket(directory, "postgres", func(db *sql.DB) error {
		var standby, streaming bool
		if err := db.QueryRowContext(ctx, standbyStatement).Scan(&standby, &is.Unreplayed, &streaming); err != nil {
			return err
		}
		switch {
		case !standby && !c.has(promotingMark):
			return fmt.Errorf("%s is a primary's already: promote on the host of a standby", directory)
		case standby && streaming && !force:
			return errors.New("the primary still sends WAL: stop it first, then promote; two primaries would take writes that nobody can bring together (--force promotes all the same)")
		case standby:
			if err := c.write(promotingMark, nil); err != nil {
				return err
			}
			var promoted bool
			if err := db.QueryRowContext(ctx, `select pg_promote(true, $1)`, int(promoteTime.Seconds())).Scan(&promoted); err != nil || !promoted {
				return fmt.Errorf("promote: %w", errors.Join(err, errors.New("it is not the primary yet; try again")))
			}
		}
		var lastCommit sql.NullTime
		err := db.QueryRowContext(ctx, promotedStatement).Scan(&lastCommit, &is.Timeline)
		is.LastCommit = lastCommit.Time
		return err
	})
	if err != nil {
		return is, err
	}
	err = c.finishPromotion(ctx)
	is.Took = time.Since(began)
	return is, err
}

// finishPromotion does what is left to do on a primary that was a standby.
func (c *Cluster) finishPromotion(ctx context.Context) error {
	if !c.has(promotingMark) {
		return nil
	}
	if err := newEpoch(ctx, c.options.Directory); err != nil {
		return err
	}
	// The control file then says the new timeline: an old primary that rejoins
	// reads it there.
	checkpoint := func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `checkpoint`)
		return err
	}
	if err := onSocket(c.options.Directory, "postgres", checkpoint); err != nil {
		return fmt.Errorf("checkpoint after the promotion: %w", err)
	}
	in := func(name string) string { return filepath.Join(c.options.Directory, name) }
	return os.Rename(in(promotingMark), in(promotedMark))
}
