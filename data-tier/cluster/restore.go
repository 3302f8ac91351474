package cluster

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

const (
	// restoreTime bounds a restore: a day's WAL replays in hours at most.
	restoreTime = 24 * time.Hour
	// restoring ends the name of the folder in which a data directory is restored.
	restoring = ".restoring"
	// maxLine bounds a line of Postgres's log that is looked at.
	maxLine = 64 << 10
)

// RestoreOptions says what to restore and where to.
type RestoreOptions struct {
	// Options say where to, and by which archive; its addresses do not count.
	Options
	// From is a backup, or the directory of all of them.
	From string
	// Until is the time of the last transaction to restore; zero: all there are.
	Until time.Time
}

// Restored is what there is to know of a restore.
type Restored struct {
	From Backup
	// LastCommit is when the last transaction that is in it was committed; zero
	// when none was since the backup.
	LastCommit time.Time
	Took       time.Duration
}

// Restore makes a data directory from a backup and the WAL since (PostgreSQL
// manual, 26.3.5), whole or not at all, with a new epoch, ready to serve. Nobody
// is let in meanwhile.
func Restore(ctx context.Context, o RestoreOptions, log *slog.Logger) (Restored, error) {
	var is Restored
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, restoreTime)
	defer done()
	var err error
	if is.From, err = o.choose(began); err != nil {
		return is, err
	}
	for _, path := range []*string{&o.Directory, &o.Archive} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return is, err
		}
	}
	if o.Archive != "" {
		if _, err := os.Stat(o.Archive); err != nil {
			return is, fmt.Errorf("--archive (ARCHIVE): %w", err)
		}
	}
	if processes := serverProcesses(o.Directory); len(processes) > 0 {
		return is, fmt.Errorf("a Postgres (processes %v) runs on %s: restore into another --data-directory (DATA_DIRECTORY)", processes, o.Directory)
	}
	if left, err := os.ReadDir(o.Directory); err == nil && len(left) > 0 {
		return is, fmt.Errorf("%s is not empty: restore into another --data-directory (DATA_DIRECTORY), or move it away", o.Directory)
	}
	written, err := writtenBy(is.From.Path)
	if err != nil {
		return is, err
	}
	c := &Cluster{options: o.Options, log: log, port: "5432"}
	if err := c.take(ctx, written); err != nil {
		return is, err
	}
	defer c.release()

	final := o.Directory
	c.options.Directory = final + restoring
	log.Info("restoring", "from", is.From.Path, "to", final)
	if err := c.copyBackup(ctx, is.From.Path); err != nil {
		return is, err
	}
	if is.LastCommit, err = c.replay(ctx, o.Until); err != nil {
		return is, err
	}
	if err := os.Remove(final); err != nil && !errors.Is(err, os.ErrNotExist) {
		return is, err
	}
	err = renameSynced(c.options.Directory, final)
	is.Took = time.Since(began)
	return is, err
}

// choose returns the newest backup that ended before the time to restore to.
func (o RestoreOptions) choose(now time.Time) (Backup, error) {
	switch {
	case o.From == "":
		return Backup{}, errors.New("say with --from (BACKUPS) where the backups are")
	case !o.Until.IsZero() && o.Archive == "":
		return Backup{}, errors.New("--until needs the WAL since the backup: say with --archive (ARCHIVE) where it is")
	case o.Until.After(now):
		return Backup{}, fmt.Errorf("--until %s is in the future: it is %s", said(o.Until), said(now))
	}
	from, err := filepath.Abs(o.From)
	if err != nil {
		return Backup{}, err
	}
	var all []Backup
	if _, err := os.Stat(filepath.Join(from, "backup_manifest")); err == nil {
		// It may have another name; then any time will do.
		ended, _ := time.Parse(backupName, filepath.Base(from))
		all = []Backup{{from, ended}}
	} else if all, err = backupsIn(from); err != nil {
		return Backup{}, fmt.Errorf("--from (BACKUPS): %w", err)
	}
	if len(all) == 0 {
		return Backup{}, fmt.Errorf("no backup in %s: data-tier backup makes one", from)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if o.Until.IsZero() || !all[i].Ended.After(o.Until) {
			return all[i], nil
		}
	}
	return Backup{}, fmt.Errorf("--until %s is before the first backup ended, at %s: no backup in %s reaches back that far",
		said(o.Until), said(all[0].Ended), from)
}

// said is a time as --until takes it.
func said(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// copyBackup copies a backup to the data directory and verifies the copy. What
// an interrupted restore left there is replaced. It need not be synced: Postgres
// does that before it recovers.
func (c *Cluster) copyBackup(ctx context.Context, backup string) error {
	to := c.options.Directory
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	err := filepath.WalkDir(backup, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(backup, path)
		if err != nil {
			return err
		}
		made := filepath.Join(to, relative)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case entry.IsDir():
			err = os.Mkdir(made, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(path, made)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder: data-tier backup makes no such backup", path)
		}
		if err != nil {
			return err
		}
		return c.account.own(made)
	})
	if err != nil {
		return err
	}
	if err := c.verify(ctx, to); err != nil {
		return fmt.Errorf("the backup is damaged, choose another one with --from (BACKUPS): %w", err)
	}
	// A backup may be a standby's, or one's that was promoted.
	return c.forget(standbySignal, promotingMark, promotedMark)
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	made, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(made, source)
	return errors.Join(err, made.Close())
}

// replay recovers to the end of the archive, or to a point in time, sets a new
// epoch and stops. It returns when the last transaction was committed.
func (c *Cluster) replay(ctx context.Context, until time.Time) (lastCommit time.Time, err error) {
	if err := c.configure(); err != nil {
		return lastCommit, err
	}
	if err := c.write("recovery.signal", nil); err != nil {
		return lastCommit, err
	}
	arguments := append(c.arguments(), "-c", "listen_addresses=",
		"-c", "restore_command="+restoreCommand(c.options.Archive),
		"-c", "recovery_target_action=promote",
		// Marks what it writes to be archived, and archives nothing: a restore
		// that is only tried leaves no trace in the archive.
		"-c", "archive_mode=on")
	if !until.IsZero() {
		arguments = append(arguments, "-c", "recovery_target_time="+until.UTC().Format("2006-01-02 15:04:05.999999+00"))
	}
	// It was for this only: the data directory will have another name.
	defer os.RemoveAll(c.socket)
	heard := &commitLine{to: os.Stderr}
	server, err := c.start(heard, arguments)
	if err != nil {
		return lastCommit, err
	}
	if err := c.awaitRecovery(ctx, server); err != nil {
		if !errors.Is(err, errEnded) {
			return lastCommit, errors.Join(err, c.stop(server))
		}
		return lastCommit, c.notReached(heard.last(), until)
	}
	if err := newEpoch(ctx, c.options.Directory); err != nil {
		return lastCommit, errors.Join(err, c.stop(server))
	}
	return heard.last(), c.stop(server)
}

// notReached says why recovery ended without its target.
func (c *Cluster) notReached(last, until time.Time) error {
	switch {
	case until.IsZero():
		return errors.New("Postgres ended the recovery; the lines above say why")
	case last.IsZero():
		return fmt.Errorf("the WAL in %s has no commit since the backup, and none after --until %s: leave --until away to restore all there is", c.options.Archive, said(until))
	default:
		return fmt.Errorf("the WAL in %s has its last commit at %s, and none after --until %s: name an earlier time, or leave --until away to restore all there is",
			c.options.Archive, said(last), said(until))
	}
}

// awaitRecovery waits until recovery has ended and writes are taken.
func (c *Cluster) awaitRecovery(ctx context.Context, server server) error {
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	for {
		recovering := true
		err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
			ctx, done := context.WithTimeout(ctx, askTime)
			defer done()
			return db.QueryRowContext(ctx, `select pg_is_in_recovery()`).Scan(&recovering)
		})
		if err == nil && !recovering {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-server.ended:
			return errEnded
		case <-say.C:
			c.log.Info("replaying WAL")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// commitLine passes Postgres's log on, and remembers the time of the last commit
// that was replayed: Postgres says it when recovery ends, also when that fails.
type commitLine struct {
	to io.Writer

	mu   sync.Mutex
	line []byte
	at   time.Time
}

var lastCompleted = regexp.MustCompile(`last completed transaction was at log time (\S+ \S+)`)

func (l *commitLine) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, text...)
	for {
		line, rest, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			break
		}
		if found := lastCompleted.FindSubmatch(line); found != nil {
			// The time zone is UTC, by postgresql.conf.
			if at, err := time.Parse("2006-01-02 15:04:05.999999-07", string(found[1])); err == nil {
				l.at = at
			}
		}
		l.line = rest
	}
	if len(l.line) > maxLine {
		l.line = nil
	}
	return l.to.Write(text)
}

// last is to be called when Postgres has said it: after the end of recovery.
func (l *commitLine) last() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}
