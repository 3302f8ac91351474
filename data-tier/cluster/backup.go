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
	// backupTimeout bounds a backup including its verification.
	backupTimeout = 12 * time.Hour
	// backupName is the time layout of a backup folder's name: when the backup
	// ended, in UTC. Recovery can stop at any later time, at none before.
	backupName = "20060102T150405.000Z"
	// unfinishedSuffix marks a folder as not yet, or no longer, a complete backup.
	unfinishedSuffix = ".unfinished"
)

// BackupOptions configures TakeBackup.
type BackupOptions struct {
	// Directory is the data directory of a running server.
	Directory string
	// Binaries is the directory of the Postgres programs; if empty, they are searched for.
	Binaries string
	// Destination is the directory that holds all backups; created if it does not exist.
	Destination string
	// Archive is the WAL archive; if set, WAL that no remaining backup needs is
	// removed from it.
	Archive string
	// Keep is the number of backups to keep, including the new one.
	Keep int
}

// Backup is a stored backup.
type Backup struct {
	Path string
	// Ended is the earliest time to which the backup can be restored.
	Ended time.Time
}

// TakenBackup is the result of TakeBackup.
type TakenBackup struct {
	Backup
	Bytes   int64
	Took    time.Duration
	Removed []Backup // the oldest backups, beyond the number to keep
}

// TakeBackup copies a server's data while it serves (PostgreSQL manual,
// pg_basebackup), verifies the copy and renames it to its final name, so that a
// backup is complete or absent. It then removes the oldest backups and the WAL
// that only they need.
func TakeBackup(ctx context.Context, o BackupOptions, log *slog.Logger) (TakenBackup, error) {
	var taken TakenBackup
	began := time.Now()
	ctx, done := context.WithTimeout(ctx, backupTimeout)
	defer done()
	switch {
	case o.Destination == "":
		return taken, errors.New("no destination: set --to (BACKUPS) to the directory of the backups")
	case o.Keep < 1:
		return taken, fmt.Errorf("--keep (KEEP) %d: keep at least 1", o.Keep)
	}
	var err error
	if o.Destination, err = filepath.Abs(o.Destination); err != nil {
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
	major, err := writtenBy(o.Directory)
	if err != nil {
		return taken, err
	}
	if c.binaries, err = findBinaries(o.Binaries, major); err != nil {
		return taken, err
	}
	lock, err := c.lockBackups(o.Destination)
	if err != nil {
		return taken, err
	}
	defer lock.Close()

	unfinished := filepath.Join(o.Destination, "backup"+unfinishedSuffix)
	if err := c.createEmpty(unfinished); err != nil {
		return taken, err
	}
	defer os.RemoveAll(unfinished)
	if err := c.copyServer(ctx, source, unfinished); err != nil {
		return taken, err
	}
	// Rounded up, so that Ended is never before the end of the backup.
	taken.Ended = time.Now().UTC().Truncate(time.Millisecond).Add(time.Millisecond)
	// The server's key is not data.
	if err := os.RemoveAll(filepath.Join(unfinished, "certificates")); err != nil {
		return taken, err
	}
	if err := c.verify(ctx, unfinished); err != nil {
		return taken, err
	}
	if taken.Bytes, err = sizeOf(unfinished); err != nil {
		return taken, err
	}
	taken.Path = filepath.Join(o.Destination, taken.Ended.Format(backupName))
	if err := renameSynced(unfinished, taken.Path); err != nil {
		return taken, err
	}
	taken.Took = time.Since(began)
	if taken.Removed, err = c.removeOldest(ctx, o); err != nil {
		return taken, fmt.Errorf("the backup is complete, in %s, but older backups were not removed: %w", taken.Path, err)
	}
	return taken, nil
}

// lockBackups creates a directory of backups if it does not exist, and locks it
// for this process until the returned file is closed.
func (c *Cluster) lockBackups(directory string) (*os.File, error) {
	if _, err := os.Stat(directory); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return nil, fmt.Errorf("--to (BACKUPS): %w", err)
		}
		if err := c.account.chown(directory); err != nil {
			return nil, err
		}
	}
	if err := c.account.checkAccess(filepath.Join(directory, "backup")); err != nil {
		return nil, fmt.Errorf("--to (BACKUPS): %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--to (BACKUPS): %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another backup into %s is running: wait until it has finished", directory)
	}
	return lock, nil
}

// copyServer copies a server's data into an empty folder and reports progress:
// to a terminal as pg_basebackup does, otherwise by a log line every few seconds.
func (c *Cluster) copyServer(ctx context.Context, source, folder string) error {
	arguments := []string{"--pgdata", folder, "--dbname", source, "--wal-method", "stream", "--checkpoint", "fast", "--progress"}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return c.interactiveTool(ctx, "pg_basebackup", arguments...)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.tool(ctx, "pg_basebackup", arguments...)
		ended <- err
	}()
	progress := time.NewTicker(reportInterval)
	defer progress.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-progress.C:
			c.logProgress(ctx)
		}
	}
}

const progressStatement = `
select phase, backup_streamed, coalesce(backup_total, 0) from pg_stat_progress_basebackup limit 1`

func (c *Cluster) logProgress(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, queryTimeout)
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

// verify compares every file of a backup with the server's manifest and parses
// the backup's WAL (PostgreSQL manual, pg_verifybackup).
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

// listBackups returns the backups in a directory, oldest first.
func listBackups(directory string) ([]Backup, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	var backups []Backup
	for _, entry := range entries {
		if ended, err := time.Parse(backupName, entry.Name()); err == nil && entry.IsDir() {
			backups = append(backups, Backup{filepath.Join(directory, entry.Name()), ended})
		}
	}
	slices.SortFunc(backups, func(a, b Backup) int { return a.Ended.Compare(b.Ended) })
	return backups, nil
}

// removeOldest removes the oldest backups beyond o.Keep, and the archived WAL
// from before the oldest remaining backup.
func (c *Cluster) removeOldest(ctx context.Context, o BackupOptions) ([]Backup, error) {
	all, err := listBackups(o.Destination)
	if err != nil {
		return nil, err
	}
	// Folders that an interrupted removal left behind.
	folders, err := filepath.Glob(filepath.Join(o.Destination, "*Z"+unfinishedSuffix))
	if err != nil {
		return nil, err
	}
	removed := all[:max(len(all)-o.Keep, 0)]
	for _, backup := range removed {
		// A partly removed backup must not pass for a complete one.
		if err := os.Rename(backup.Path, backup.Path+unfinishedSuffix); err != nil {
			return nil, err
		}
		folders = append(folders, backup.Path+unfinishedSuffix)
	}
	for _, folder := range folders {
		if err := os.RemoveAll(folder); err != nil {
			return nil, err
		}
	}
	if o.Archive == "" {
		return removed, nil
	}
	first, err := firstWAL(all[len(removed)].Path)
	if err != nil {
		return removed, err
	}
	archive, err := filepath.Abs(o.Archive)
	if err != nil {
		return removed, err
	}
	_, err = c.tool(ctx, "pg_archivecleanup", archive, first)
	return removed, err
}

var startLocation = regexp.MustCompile(`(?m)^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$`)

// firstWAL returns the name of the first WAL file that a backup needs
// (PostgreSQL manual, 26.3.4: backup_label).
func firstWAL(backup string) (string, error) {
	label, err := os.ReadFile(filepath.Join(backup, "backup_label"))
	if err != nil {
		return "", err
	}
	match := startLocation.FindSubmatch(label)
	if match == nil {
		return "", fmt.Errorf("%s/backup_label has no start of the WAL", backup)
	}
	return string(match[1]), nil
}
