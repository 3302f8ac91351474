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
	// restoreTimeout bounds a restore; replaying a day's WAL takes hours at most.
	restoreTimeout = 24 * time.Hour
	// restoringSuffix marks the folder in which a data directory is being restored.
	restoringSuffix = ".restoring"
	// maxLine bounds a line of Postgres's log that commitLine parses.
	maxLine = 64 << 10
)

// RestoreOptions configures Restore.
type RestoreOptions struct {
	// Options hold the data directory to create and the archive to read; their
	// addresses are ignored.
	Options
	// Source is a backup, or the directory of all backups.
	Source string
	// Until is the time of the last transaction to restore; zero restores all.
	Until time.Time
}

// Restored is the result of Restore.
type Restored struct {
	Backup Backup
	// LastCommit is when the last restored transaction was committed; zero if
	// there is none after the backup.
	LastCommit time.Time
	Took       time.Duration
}

// Restore creates a data directory, atomically, from a backup and the WAL since
// (PostgreSQL manual, 26.3.5), with a new epoch and ready to serve. Until then
// clients cannot connect.
func Restore(ctx context.Context, o RestoreOptions, log *slog.Logger) (Restored, error) {
	var r Restored
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, restoreTimeout)
	defer done()
	var err error
	if r.Backup, err = o.choose(began); err != nil {
		return r, err
	}
	for _, path := range []*string{&o.Directory, &o.Archive} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return r, err
		}
	}
	if o.Archive != "" {
		if _, err := os.Stat(o.Archive); err != nil {
			return r, fmt.Errorf("--archive (ARCHIVE): %w", err)
		}
	}
	if processes := serverProcesses(o.Directory); len(processes) > 0 {
		return r, fmt.Errorf("a Postgres (processes %v) runs on %s: restore into another --data-directory (DATA_DIRECTORY)", processes, o.Directory)
	}
	if entries, err := os.ReadDir(o.Directory); err == nil && len(entries) > 0 {
		return r, fmt.Errorf("%s is not empty: restore into another --data-directory (DATA_DIRECTORY), or move it away", o.Directory)
	}
	major, err := writtenBy(r.Backup.Path)
	if err != nil {
		return r, err
	}
	c := &Cluster{options: o.Options, log: log, port: "5432"}
	if err := c.prepare(ctx, major); err != nil {
		return r, err
	}
	defer c.release()

	final := o.Directory
	c.options.Directory = final + restoringSuffix
	log.Info("restoring", "from", r.Backup.Path, "to", final)
	if err := c.copyBackup(ctx, r.Backup.Path); err != nil {
		return r, err
	}
	if r.LastCommit, err = c.replay(ctx, o.Until); err != nil {
		return r, err
	}
	if err := os.Remove(final); err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	err = renameSynced(c.options.Directory, final)
	r.Took = time.Since(began)
	return r, err
}

// choose returns the newest backup that ended before o.Until.
func (o RestoreOptions) choose(now time.Time) (Backup, error) {
	switch {
	case o.Source == "":
		return Backup{}, errors.New("no backup given: set --from (BACKUPS) to a backup or to the directory of the backups")
	case !o.Until.IsZero() && o.Archive == "":
		return Backup{}, errors.New("--until needs the WAL since the backup: set --archive (ARCHIVE) to its directory")
	case o.Until.After(now):
		return Backup{}, fmt.Errorf("--until %s is in the future: the time is %s", formatTime(o.Until), formatTime(now))
	}
	source, err := filepath.Abs(o.Source)
	if err != nil {
		return Backup{}, err
	}
	var all []Backup
	if _, err := os.Stat(filepath.Join(source, "backup_manifest")); err == nil {
		// A renamed backup has no end time, and qualifies for every o.Until.
		ended, _ := time.Parse(backupName, filepath.Base(source))
		all = []Backup{{source, ended}}
	} else if all, err = listBackups(source); err != nil {
		return Backup{}, fmt.Errorf("--from (BACKUPS): %w", err)
	}
	if len(all) == 0 {
		return Backup{}, fmt.Errorf("no backup in %s: run data-tier backup to create one", source)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if o.Until.IsZero() || !all[i].Ended.After(o.Until) {
			return all[i], nil
		}
	}
	return Backup{}, fmt.Errorf("--until %s is before the first backup ended, at %s: no backup in %s reaches back that far",
		formatTime(o.Until), formatTime(all[0].Ended), source)
}

// formatTime formats a time as --until accepts it.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// copyBackup copies a backup to the data directory, replacing what an interrupted
// restore left there, and verifies the copy. It need not sync the files: Postgres
// does that before recovery.
func (c *Cluster) copyBackup(ctx context.Context, backup string) error {
	directory := c.options.Directory
	if err := os.RemoveAll(directory); err != nil {
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
		target := filepath.Join(directory, relative)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(path, target)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder: data-tier backup did not create this backup", path)
		}
		if err != nil {
			return err
		}
		return c.account.chown(target)
	})
	if err != nil {
		return err
	}
	if err := c.verify(ctx, directory); err != nil {
		return fmt.Errorf("the backup is damaged, choose another with --from (BACKUPS): %w", err)
	}
	// The backup can be of a standby, or of a server that was promoted.
	return c.remove(standbySignal, promotingMark, promotedMark)
}

func copyFile(sourcePath, targetPath string) error {
	source, err := os.Open(sourcePath)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(targetPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// replay recovers to the end of the archive, or to a point in time, starts a new
// epoch and stops Postgres. It returns when the last transaction was committed.
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
		// Without an archive library, Postgres marks its WAL as to be archived but
		// archives none: a trial restore leaves no trace in the archive.
		"-c", "archive_mode=on")
	if !until.IsZero() {
		arguments = append(arguments, "-c", "recovery_target_time="+until.UTC().Format("2006-01-02 15:04:05.999999+00"))
	}
	// The socket is named after the data directory, which is renamed later.
	defer os.RemoveAll(c.socket)
	commits := &commitLine{w: os.Stderr}
	server, err := c.start(commits, arguments)
	if err != nil {
		return lastCommit, err
	}
	if err := c.awaitRecovery(ctx, server); err != nil {
		if !errors.Is(err, errExited) {
			return lastCommit, errors.Join(err, c.stop(server))
		}
		return lastCommit, c.recoveryError(commits.last(), until)
	}
	if err := newEpoch(ctx, c.options.Directory); err != nil {
		return lastCommit, errors.Join(err, c.stop(server))
	}
	return commits.last(), c.stop(server)
}

// recoveryError returns why recovery stopped before its target, given the time of
// the last commit that was replayed.
func (c *Cluster) recoveryError(last, until time.Time) error {
	switch {
	case until.IsZero():
		return errors.New("recovery failed: the Postgres log above has the reason")
	case last.IsZero():
		return fmt.Errorf("the WAL in %s has no commit since the backup, and none after --until %s: omit --until to restore everything", c.options.Archive, formatTime(until))
	default:
		return fmt.Errorf("the WAL in %s has its last commit at %s, and none after --until %s: use an earlier time, or omit --until to restore everything",
			c.options.Archive, formatTime(last), formatTime(until))
	}
}

// awaitRecovery waits until recovery has finished and the server accepts writes.
func (c *Cluster) awaitRecovery(ctx context.Context, server server) error {
	progress := time.NewTicker(reportInterval)
	defer progress.Stop()
	for {
		recovering := true
		err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
			ctx, done := context.WithTimeout(ctx, queryTimeout)
			defer done()
			return db.QueryRowContext(ctx, `select pg_is_in_recovery()`).Scan(&recovering)
		})
		if err == nil && !recovering {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-server.exited:
			return errExited
		case <-progress.C:
			c.log.Info("replaying WAL")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// commitLine forwards Postgres's log and extracts the time of the last replayed
// commit, which Postgres logs when recovery ends, even if it failed.
type commitLine struct {
	w io.Writer

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
		line, rest, complete := bytes.Cut(l.line, []byte("\n"))
		if !complete {
			break
		}
		if match := lastCompleted.FindSubmatch(line); match != nil {
			// postgresql.conf sets the time zone to UTC.
			if at, err := time.Parse("2006-01-02 15:04:05.999999-07", string(match[1])); err == nil {
				l.at = at
			}
		}
		l.line = rest
	}
	if len(l.line) > maxLine {
		l.line = nil
	}
	return l.w.Write(text)
}

// last returns the time of the last replayed commit. It is valid once recovery
// has ended.
func (l *commitLine) last() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}
