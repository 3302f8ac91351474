package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// createArchive creates the directory of the WAL archive if it does not exist.
// An invalid setting fails the start; later failures are logged by watchArchive.
func (c *Cluster) createArchive() error {
	if c.options.Archive == "" {
		return nil
	}
	var err error
	if c.options.Archive, err = filepath.Abs(c.options.Archive); err != nil {
		return err
	}
	if info, err := os.Stat(c.options.Archive); err == nil && !info.IsDir() {
		return fmt.Errorf("--archive (ARCHIVE) %s is a file: use a folder", c.options.Archive)
	} else if err != nil {
		if err := os.MkdirAll(c.options.Archive, 0o700); err != nil {
			return fmt.Errorf("--archive (ARCHIVE): %w", err)
		}
		if err := c.account.chown(c.options.Archive); err != nil {
			return err
		}
	}
	if err := c.account.checkAccess(c.options.Archive); err != nil {
		return fmt.Errorf("--archive (ARCHIVE): %w", err)
	}
	return nil
}

// archiveArguments returns the arguments that enable continuous archiving
// (PostgreSQL manual, 26.3.1) with basic_archive, a contrib module as unaccent
// is. It copies, syncs and renames, and refuses to overwrite a different file. An
// archive_command would need a shell and a program of ours on its path.
func (c *Cluster) archiveArguments() []string {
	if c.options.Archive == "" {
		return nil
	}
	return []string{
		"-c", "archive_mode=on",
		"-c", "archive_library=basic_archive",
		"-c", "basic_archive.archive_directory=" + c.options.Archive,
	}
}

// restoreCommand returns the shell command that fetches a file from the archive:
// Postgres replaces %f by the file's name and %p by its destination. Without an
// archive the command fails, and recovery stops at the end of the backup's own WAL.
func restoreCommand(archive string) string {
	if archive == "" {
		return "false"
	}
	// In single quotes the shell interprets nothing, but Postgres interprets %.
	quoted := "'" + strings.NewReplacer("'", `'\''`, "%", "%%").Replace(archive+"/") + "'"
	return "cp " + quoted + `"%f" "%p"`
}

// archiveState is the archiver's state when watchArchive last read it.
type archiveState struct {
	failures int64
	failing  bool
}

const archiverStatement = `
select failed_count,
       coalesce(last_failed_wal, ''),
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
       (select count(*) from pg_ls_archive_statusdir() where name like '%.ready')
from   pg_stat_archiver`

// watchArchive warns if archiving failed since the last call. Postgres retries
// indefinitely and keeps the WAL until it is archived.
func (c *Cluster) watchArchive(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, queryTimeout)
	defer done()
	var now archiveState
	var file string
	var waiting int64
	err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
		return db.QueryRowContext(ctx, archiverStatement).Scan(&now.failures, &file, &now.failing, &waiting)
	})
	switch {
	case err != nil: // Postgres is stopping, or too busy to answer.
		return
	case now.failing && now.failures > c.archived.failures:
		c.log.Warn("WAL archiving failed; Postgres keeps the WAL on its own disk until archiving succeeds: fix --archive (ARCHIVE), the Postgres log above has the reason",
			"archive", c.options.Archive, "file", file, "files_waiting", waiting)
	case c.archived.failing && !now.failing:
		c.log.Info("WAL archiving resumed", "archive", c.options.Archive, "files_waiting", waiting)
	}
	c.archived = now
}
