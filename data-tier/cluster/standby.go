package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// copyTime bounds copying a primary, and a rejoin.
	copyTime = 12 * time.Hour
	// sayEvery is how often one that waits says why.
	sayEvery = 5 * time.Second
	// standbySignal is the file that makes Postgres a standby; promotion removes
	// it (PostgreSQL manual, 27.2.4).
	standbySignal = "standby.signal"
)

// joins makes the data directory what the settings and its own state ask for,
// before Postgres starts. written is the version that wrote it, 0: it is empty.
//
//   - Empty: a copy of the primary, where --standby-of names one.
//   - A standby's: it follows on.
//   - A primary's, with --standby-of: it rejoins as a standby when that one was
//     promoted since. One that was promoted itself serves on as the primary, by
//     the same flag: a restart must not undo a promotion. One that was not waits
//     for an answer; it was told not to be the primary.
//   - A primary's, with --partner: it serves, unless the partner was promoted.
func (c *Cluster) joins(ctx context.Context) error {
	o := c.options
	if o.StandbyOf == "" && c.has(standbySignal) {
		return fmt.Errorf("%s is a standby's: say with --standby-of (STANDBY_OF) whom it follows; to make it the primary, data-tier promote while it serves", o.Directory)
	}
	if c.has(standbySignal) {
		c.standby = true
		return c.forget(promotingMark, promotedMark)
	}
	address := o.StandbyOf
	if address == "" {
		address = o.Partner
	}
	if address == "" {
		return nil
	}
	here, err := c.control(ctx)
	if err != nil {
		return err
	}
	other, err := awaitPartner(ctx, address, c.certificates(), partnerTime)
	mayServe := o.StandbyOf == "" || c.has(promotedMark) || c.has(promotingMark)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && mayServe:
		c.log.Warn("the partner does not answer; serving without knowing whether it was promoted", "partner", address, "reason", err)
		return nil
	case err != nil:
		if other, err = c.awaitPrimary(ctx, c.certificates()); err != nil {
			return err
		}
	}
	if o.StandbyOf != "" && other.system == here.system && other.timeline > here.timeline {
		return c.rejoin(ctx, here)
	}
	if err := here.behind(other, address); err != nil {
		return err
	}
	if !other.standby {
		c.log.Warn("the partner is a primary too, on an older timeline: stop it and start it with --standby-of this one; it rejoins",
			"partner", address, "its_timeline", other.timeline, "timeline", here.timeline)
	}
	return nil
}

// awaitPrimary waits, visibly, until the primary answers.
func (c *Cluster) awaitPrimary(ctx context.Context, certificates string) (partner, error) {
	for {
		p, err := awaitPartner(ctx, c.options.StandbyOf, certificates, sayEvery)
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		if err == nil {
			return p, nil
		}
		c.log.Warn("waiting for the primary (--standby-of, STANDBY_OF): see whether it runs there", "primary", c.options.StandbyOf, "reason", err)
	}
}

// copyPrimary makes the data directory a copy of the primary's, whole or not at
// all, that will follow it.
func (c *Cluster) copyPrimary(ctx context.Context) error {
	began := time.Now()
	made := c.options.Directory + ".new"
	if err := c.makeEmpty(made); err != nil {
		return err
	}
	certificates := filepath.Join(made, "certificates")
	if err := c.makeEmpty(certificates); err != nil {
		return err
	}
	if _, err := c.copyCertificates(certificates); err != nil {
		return err
	}
	primary, err := c.awaitPrimary(ctx, certificates)
	if err != nil {
		return err
	}
	if c.binaries, err = findBinaries(c.options.Binaries, primary.major); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(ctx, copyTime)
	defer done()
	if err := c.reserveSlot(ctx, certificates); err != nil {
		return err
	}
	source, err := replicatorSource(c.options.StandbyOf, certificates)
	if err != nil {
		return err
	}
	c.log.Info("copying the primary", "primary", c.options.StandbyOf)
	data := filepath.Join(made, "data")
	if _, err := c.tool(ctx, "pg_basebackup", "--pgdata", data, "--dbname", source, "--wal-method", "stream", "--slot", slotName(), "--checkpoint", "fast"); err != nil {
		return err
	}
	if err := os.Remove(c.options.Directory); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	whole := *c
	whole.options.Directory = data
	if err := whole.follow(); err != nil {
		return err
	}
	if err := renameSynced(data, c.options.Directory); err != nil {
		return err
	}
	c.log.Info("primary copied", "primary", c.options.StandbyOf, "directory", c.options.Directory, "took", time.Since(began).Round(time.Millisecond))
	c.standby = true
	return os.RemoveAll(made)
}

// rejoin makes the stopped data directory of an old primary that of a standby:
// what it wrote after the other was promoted is taken back (pg_rewind).
func (c *Cluster) rejoin(ctx context.Context, here control) error {
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, copyTime)
	defer done()
	if !here.clean() {
		// pg_rewind wants one that was stopped, not killed.
		if err := c.recover(ctx); err != nil {
			return err
		}
	}
	if err := c.checkpointPrimary(ctx); err != nil {
		return err
	}
	if err := c.reserveSlot(ctx, c.certificates()); err != nil {
		return err
	}
	source, err := replicatorSource(c.options.StandbyOf, c.certificates())
	if err != nil {
		return err
	}
	rewind := []string{"--target-pgdata", c.options.Directory, "--source-server", source + " dbname=techtalks"}
	if _, err := c.tool(ctx, "pg_rewind", append(rewind, "--dry-run")...); err != nil {
		return fmt.Errorf("%s cannot rejoin %s: remove it, and it is copied anew: %w", c.options.Directory, c.options.StandbyOf, err)
	}
	// One that is interrupted leaves neither the old data nor the new.
	mark := c.options.Directory + rewindMark
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	if _, err := c.tool(ctx, "pg_rewind", rewind...); err != nil {
		return fmt.Errorf("%w: remove %s and %s, and it is copied anew", err, c.options.Directory, mark)
	}
	if err := c.follow(); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	c.standby = true
	c.log.Info("rejoined as a standby", "primary", c.options.StandbyOf, "took", time.Since(began).Round(time.Millisecond))
	// The configuration is the primary's now.
	return c.configure()
}

// rewindMark ends the name of the file beside a data directory that says that a
// rejoin is under way.
const rewindMark = ".rewind"

// follow makes a copy of the primary start as a standby.
func (c *Cluster) follow() error {
	if err := c.forget(promotingMark, promotedMark); err != nil {
		return err
	}
	// The slots of those that followed this one would keep WAL that nobody wants.
	slots, err := filepath.Glob(filepath.Join(c.options.Directory, "pg_replslot", "*"))
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if err := os.RemoveAll(slot); err != nil {
			return err
		}
	}
	return c.write(standbySignal, nil)
}

// checkpointPrimary makes the primary's control file say its timeline, which
// pg_rewind reads there.
func (c *Cluster) checkpointPrimary(ctx context.Context) error {
	db, err := connectPartner(c.options.StandbyOf, c.certificates())
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, startTime)
	defer done()
	if _, err := db.ExecContext(ctx, `checkpoint`); err != nil {
		return fmt.Errorf("checkpoint on %s: %w", c.options.StandbyOf, err)
	}
	return nil
}

var notInSlot = regexp.MustCompile(`[^a-z0-9_]`)

// slotName names the replication slot of this host: a primary's hosts differ.
func slotName() string {
	host, _ := os.Hostname()
	name := "standby_" + notInSlot.ReplaceAllString(strings.ToLower(host), "_")
	return name[:min(len(name), 63)]
}

// reserveSlot makes the primary keep WAL for this host from now on. A slot that
// lost its WAL, since this host was away for too long, is made anew.
func (c *Cluster) reserveSlot(ctx context.Context, certificates string) error {
	db, err := connectPartner(c.options.StandbyOf, certificates)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, askTime)
	defer done()
	name := slotName()
	for _, statement := range []string{
		`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active and wal_status = 'lost'`,
		`select pg_create_physical_replication_slot($1, true) where not exists (select from pg_replication_slots where slot_name = $1)`,
	} {
		if _, err := db.ExecContext(ctx, statement, name); err != nil {
			return fmt.Errorf("replication slot %s on %s: %w", name, c.options.StandbyOf, err)
		}
	}
	return nil
}

const followingStatement = `
select pg_is_in_recovery(), exists (select from pg_stat_wal_receiver where status = 'streaming')`

// watchPrimary says why a standby does not follow. It makes the slot that a
// primary lacks: one that was a standby itself until now has none.
func (c *Cluster) watchPrimary(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, 2*askTime)
	defer done()
	recovering, streaming := true, false
	err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
		return db.QueryRowContext(ctx, followingStatement).Scan(&recovering, &streaming)
	})
	switch {
	case ctx.Err() != nil:
	case err == nil && !recovering:
		c.log.Info("promoted; serving as the primary")
		c.standby = false
	case streaming && !c.following:
		c.log.Info("following the primary", "primary", c.options.StandbyOf)
		c.following = true
	case streaming:
	default:
		c.following = false
		_, reason := askPartner(ctx, c.options.StandbyOf, c.certificates())
		if reason == nil {
			reason = c.reserveSlot(ctx, c.certificates())
		}
		if reason == nil {
			reason = errors.New("it answers, and sends no WAL; the lines of Postgres above say why")
		}
		c.log.Warn("not following the primary", "primary", c.options.StandbyOf, "reason", reason)
	}
}

// followArguments are what makes Postgres follow: here, and not in the data
// directory, since they depend on the host.
func (c *Cluster) followArguments() ([]string, error) {
	source, err := replicatorSource(c.options.StandbyOf, c.certificates())
	if err != nil {
		return nil, err
	}
	return []string{
		"-c", "primary_conninfo=" + source + " application_name=" + slotName(),
		"-c", "primary_slot_name=" + slotName(),
	}, nil
}
