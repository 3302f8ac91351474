package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

const (
	// backupTime bounds a backup with its verification.
	backupTime = 12 * time.Hour
	// backupName is the layout of a backup's folder: when it ended, in UTC.
	// Recovery can go on to any time since, and to none before.
	backupName = "20060102T150405.000Z"
	// unfinished ends the name of what is not a backup yet, or no longer.
	unfinished = ".unfinished"
)

// BackupOptions says what to back up and where to.
type BackupOptions struct {
	// Directory is the data directory of a server that runs.
	Directory string
	// Binaries is the directory of Postgres's programs; found when empty.
	Binaries string
	// To is the directory of all backups; made when it is not there.
	To string
	// Archive is the WAL archive: what it has from before the oldest backup that
	// is kept is removed. Empty: none.
	Archive string
	// Keep is how many backups are kept, this one among them.
	Keep int
}

// Backup is one that is there.
type Backup struct {
	Path string
	// Ended is the earliest time to which it can be restored.
	Ended time.Time
}

// TakenBackup is one that was just made.
type TakenBackup struct {
	Backup
	Bytes   int64
	Took    time.Duration
	Removed []Backup // older ones, of which there were more than to keep
}

// TakeBackup copies a server's data while it serves (PostgreSQL manual,
// pg_basebackup), verifies the copy and puts it in its place whole or not at
// all. Older backups are removed after that, and the WAL that only they need.
func TakeBackup(ctx context.Context, o BackupOptions, log *slog.Logger) (TakenBackup, error) {
	var taken TakenBackup
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, backupTime)
	defer done()
	switch {
	case o.To == "":
		return taken, errors.New("say with --to (BACKUPS) where the backup goes")
	case o.Keep < 1:
		return taken, fmt.Errorf("--keep (KEEP) %d: keep at least 1", o.Keep)
	}
	var err error
	if o.To, err = filepath.Abs(o.To); err != nil {
		return taken, err
	}
	source, err := Socket(o.Directory)
	if err != nil {
		return taken, err
	}
	c := &Cluster{options: Options{Directory: o.Directory}, log: log}
	if c.account, err = serverAccount(); err != nil {
		return taken, err
	}
	written, err := writtenBy(o.Directory)
	if err != nil {
		return taken, err
	}
	if c.binaries, err = findBinaries(o.Binaries, written); err != nil {
		return taken, err
	}
	lock, err := c.holdBackups(o.To)
	if err != nil {
		return taken, err
	}
	defer lock.Close()

	made := filepath.Join(o.To, "backup"+unfinished)
	if err := c.makeEmpty(made); err != nil {
		return taken, err
	}
	defer os.RemoveAll(made)
	if err := c.copyServer(ctx, source, made); err != nil {
		return taken, err
	}
	// Rounded up: a time that is named is never before the end.
	taken.Ended = time.Now().UTC().Truncate(time.Millisecond).Add(time.Millisecond)
	// The server's key is not data.
	if err := os.RemoveAll(filepath.Join(made, "certificates")); err != nil {
		return taken, err
	}
	if err := c.verify(ctx, made); err != nil {
		return taken, err
	}
	if taken.Bytes, err = sizeOf(made); err != nil {
		return taken, err
	}
	taken.Path = filepath.Join(o.To, taken.Ended.Format(backupName))
	if err := renameSynced(made, taken.Path); err != nil {
		return taken, err
	}
	taken.Took = time.Since(began)
	if taken.Removed, err = c.removeOld(ctx, o); err != nil {
		return taken, fmt.Errorf("the backup is in %s; what is older was not removed: %w", taken.Path, err)
	}
	return taken, nil
}

// holdBackups makes sure that one process at a time writes to a directory of
// backups, making it when it is not there. The hold ends when the file is closed.
func (c *Cluster) holdBackups(to string) (*os.File, error) {
	if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return nil, fmt.Errorf("--to (BACKUPS): %w", err)
		}
		if err := c.account.own(to); err != nil {
			return nil, err
		}
	}
	if err := c.account.reaches(filepath.Join(to, "backup")); err != nil {
		return nil, fmt.Errorf("--to (BACKUPS): %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(to, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--to (BACKUPS): %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another backup goes to %s: wait until it has ended", to)
	}
	return lock, nil
}

// copyServer copies the data of a server into an empty folder, and says how far
// it is: to a terminal as pg_basebackup does, else by a line every few seconds.
func (c *Cluster) copyServer(ctx context.Context, source, folder string) error {
	arguments := []string{"--pgdata", folder, "--dbname", source, "--wal-method", "stream", "--checkpoint", "fast", "--progress"}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return c.shownTool(ctx, "pg_basebackup", arguments...)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.tool(ctx, "pg_basebackup", arguments...)
		ended <- err
	}()
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-say.C:
			c.sayProgress(ctx)
		}
	}
}

const progressStatement = `
select phase, backup_streamed, coalesce(backup_total, 0) from pg_stat_progress_basebackup limit 1`

func (c *Cluster) sayProgress(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, askTime)
	defer done()
	var phase string
	var copied, total int64
	err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
		return db.QueryRowContext(ctx, progressStatement).Scan(&phase, &copied, &total)
	})
	if err == nil {
		c.log.Info("backing up", "phase", phase, "bytes", copied, "of", total)
	}
}

// verify compares every file of a backup with the manifest that the server
// made, and reads its WAL (PostgreSQL manual, pg_verifybackup).
func (c *Cluster) verify(ctx context.Context, folder string) error {
	_, err := c.tool(ctx, "pg_verifybackup", "--quiet", "--ignore", "certificates", folder)
	return err
}

func sizeOf(folder string) (bytes int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

// backupsIn returns the backups of a directory, the oldest first.
func backupsIn(directory string) ([]Backup, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	var found []Backup
	for _, entry := range entries {
		if ended, err := time.Parse(backupName, entry.Name()); err == nil && entry.IsDir() {
			found = append(found, Backup{filepath.Join(directory, entry.Name()), ended})
		}
	}
	slices.SortFunc(found, func(a, b Backup) int { return a.Ended.Compare(b.Ended) })
	return found, nil
}

// removeOld removes the oldest backups, and the WAL from before the oldest that
// is kept.
func (c *Cluster) removeOld(ctx context.Context, o BackupOptions) ([]Backup, error) {
	all, err := backupsIn(o.To)
	if err != nil {
		return nil, err
	}
	// What an interrupted removal left.
	left, err := filepath.Glob(filepath.Join(o.To, "*Z"+unfinished))
	if err != nil {
		return nil, err
	}
	old := all[:max(len(all)-o.Keep, 0)]
	for _, backup := range old {
		// Half of one must not look like one.
		if err := os.Rename(backup.Path, backup.Path+unfinished); err != nil {
			return nil, err
		}
		left = append(left, backup.Path+unfinished)
	}
	for _, folder := range left {
		if err := os.RemoveAll(folder); err != nil {
			return nil, err
		}
	}
	if o.Archive == "" {
		return old, nil
	}
	first, err := firstWAL(all[len(old)].Path)
	if err != nil {
		return old, err
	}
	archive, err := filepath.Abs(o.Archive)
	if err != nil {
		return old, err
	}
	_, err = c.tool(ctx, "pg_archivecleanup", archive, first)
	return old, err
}

var startLocation = regexp.MustCompile(`(?m)^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$`)

// firstWAL returns the name of the first WAL file that a backup needs
// (PostgreSQL manual, 26.3.4: backup_label).
func firstWAL(backup string) (string, error) {
	label, err := os.ReadFile(filepath.Join(backup, "backup_label"))
	if err != nil {
		return "", err
	}
	found := startLocation.FindSubmatch(label)
	if found == nil {
		return "", fmt.Errorf("%s/backup_label does not say where its WAL starts", backup)
	}
	return string(found[1]), nil
}
