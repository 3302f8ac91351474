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
	// copyTimeout bounds copying a primary, and a rejoin.
	copyTimeout = 12 * time.Hour
	// reportInterval is how often a waiting server logs why it waits.
	reportInterval = 5 * time.Second
	// standbySignal is the file that makes Postgres a standby; promotion removes
	// it (PostgreSQL manual, 27.2.4).
	standbySignal = "standby.signal"
)

// chooseRole decides, before Postgres starts, whether a data directory that holds
// data serves as a primary or as a standby.
//
//   - The directory of a standby keeps following.
//   - The directory of a primary, with --standby-of: it rejoins as a standby if
//     that server was promoted since. If this server was itself promoted, it stays
//     the primary despite the flag: a restart must not undo a promotion. Otherwise
//     it waits for an answer, because its settings say that it is not the primary.
//   - The directory of a primary, with --partner: it serves unless the partner was
//     promoted.
func (c *Cluster) chooseRole(ctx context.Context) error {
	o := c.options
	if o.StandbyOf == "" && c.has(standbySignal) {
		return fmt.Errorf("%s belongs to a standby: set --standby-of (STANDBY_OF) to its primary; to make it the primary, run data-tier promote while it serves", o.Directory)
	}
	if c.has(standbySignal) {
		c.standby = true
		return c.remove(promotingMark, promotedMark)
	}
	address := o.StandbyOf
	if address == "" {
		address = o.Partner
	}
	if address == "" {
		return nil
	}
	local, err := c.control(ctx)
	if err != nil {
		return err
	}
	partner, err := awaitPartner(ctx, address, c.certificates(), partnerTimeout)
	canBePrimary := o.StandbyOf == "" || c.has(promotedMark) || c.has(promotingMark)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && canBePrimary:
		c.log.Warn("the partner does not answer; serving without knowing whether it was promoted", "partner", address, "reason", err)
		return nil
	case err != nil:
		if partner, err = c.awaitPrimary(ctx, c.certificates()); err != nil {
			return err
		}
	}
	if o.StandbyOf != "" && partner.system == local.system && partner.timeline > local.timeline {
		return c.rejoin(ctx, local)
	}
	if err := local.checkPartner(partner, address); err != nil {
		return err
	}
	if !partner.standby {
		c.log.Warn("the partner is a primary too, on an older timeline: stop it and start it with --standby-of set to this server; it rejoins",
			"partner", address, "its_timeline", partner.timeline, "timeline", local.timeline)
	}
	return nil
}

// awaitPrimary waits until the primary answers, and logs why it waits.
func (c *Cluster) awaitPrimary(ctx context.Context, certificates string) (partnerState, error) {
	for {
		p, err := awaitPartner(ctx, c.options.StandbyOf, certificates, reportInterval)
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		if err == nil {
			return p, nil
		}
		c.log.Warn("waiting for the primary (--standby-of, STANDBY_OF): see whether it runs there", "primary", c.options.StandbyOf, "reason", err)
	}
}

// copyPrimary creates the data directory of a standby, atomically, as a copy of
// the primary's.
func (c *Cluster) copyPrimary(ctx context.Context) error {
	began := time.Now()
	unfinished := c.options.Directory + ".new"
	if err := c.createEmpty(unfinished); err != nil {
		return err
	}
	certificates := filepath.Join(unfinished, "certificates")
	if err := c.createEmpty(certificates); err != nil {
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
	ctx, done := context.WithTimeout(ctx, copyTimeout)
	defer done()
	if err := c.reserveSlot(ctx, certificates); err != nil {
		return err
	}
	source, err := replicatorSource(c.options.StandbyOf, certificates)
	if err != nil {
		return err
	}
	c.log.Info("copying the primary", "primary", c.options.StandbyOf)
	data := filepath.Join(unfinished, "data")
	if _, err := c.tool(ctx, "pg_basebackup", "--pgdata", data, "--dbname", source, "--wal-method", "stream", "--slot", slotName(), "--checkpoint", "fast"); err != nil {
		return err
	}
	if err := os.Remove(c.options.Directory); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	copied := *c
	copied.options.Directory = data
	if err := copied.makeStandby(); err != nil {
		return err
	}
	if err := renameSynced(data, c.options.Directory); err != nil {
		return err
	}
	c.log.Info("primary copied", "primary", c.options.StandbyOf, "directory", c.options.Directory, "took", time.Since(began).Round(time.Millisecond))
	c.standby = true
	return os.RemoveAll(unfinished)
}

// rejoin turns the stopped data directory of a former primary into that of a
// standby: pg_rewind undoes what it wrote after the other server was promoted.
func (c *Cluster) rejoin(ctx context.Context, local control) error {
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, copyTimeout)
	defer done()
	if !local.isClean() {
		// pg_rewind requires a clean shutdown.
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
		return fmt.Errorf("%s cannot rejoin %s: remove it, and it is copied again: %w", c.options.Directory, c.options.StandbyOf, err)
	}
	// An interrupted pg_rewind leaves neither the old data nor the new.
	mark := c.options.Directory + rewindSuffix
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	if _, err := c.tool(ctx, "pg_rewind", rewind...); err != nil {
		return fmt.Errorf("%w: remove %s and %s, and it is copied again", err, c.options.Directory, mark)
	}
	if err := c.makeStandby(); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	c.standby = true
	c.log.Info("rejoined as a standby", "primary", c.options.StandbyOf, "took", time.Since(began).Round(time.Millisecond))
	// pg_rewind copied the primary's configuration.
	return c.configure()
}

// rewindSuffix is the suffix of the file beside a data directory that marks a
// rejoin in progress.
const rewindSuffix = ".rewind"

// makeStandby makes a copy of the primary start as a standby.
func (c *Cluster) makeStandby() error {
	if err := c.remove(promotingMark, promotedMark); err != nil {
		return err
	}
	// The replication slots of the primary's standbys would retain WAL that no
	// server reads here.
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

// checkpointPrimary makes the primary write its timeline to its control file,
// where pg_rewind reads it.
func (c *Cluster) checkpointPrimary(ctx context.Context) error {
	db, err := connectPartner(c.options.StandbyOf, c.certificates())
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	if _, err := db.ExecContext(ctx, `checkpoint`); err != nil {
		return fmt.Errorf("checkpoint on %s: %w", c.options.StandbyOf, err)
	}
	return nil
}

var notSlotName = regexp.MustCompile(`[^a-z0-9_]`)

// slotName returns the name of this host's replication slot on the primary.
func slotName() string {
	host, _ := os.Hostname()
	name := "standby_" + notSlotName.ReplaceAllString(strings.ToLower(host), "_")
	return name[:min(len(name), 63)]
}

// reserveSlot makes the primary retain WAL for this host. It recreates a slot
// whose WAL was removed because this host was disconnected for too long.
func (c *Cluster) reserveSlot(ctx context.Context, certificates string) error {
	db, err := connectPartner(c.options.StandbyOf, certificates)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, queryTimeout)
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

// watchPrimary logs why a standby does not follow its primary. It also creates the
// replication slot if the primary has none, as after a promotion.
func (c *Cluster) watchPrimary(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, 2*queryTimeout)
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
		_, reason := queryPartner(ctx, c.options.StandbyOf, c.certificates())
		if reason == nil {
			reason = c.reserveSlot(ctx, c.certificates())
		}
		if reason == nil {
			reason = errors.New("it answers but sends no WAL; the Postgres log above has the reason")
		}
		c.log.Warn("not following the primary", "primary", c.options.StandbyOf, "reason", reason)
	}
}

// followArguments returns the settings that make Postgres follow its primary. They
// depend on the host, so they are not in the data directory.
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
