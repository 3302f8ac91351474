package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// makeArchive makes the directory of the WAL archive when it is not there. A
// wrong setting ends the start; what goes wrong later is warned of.
func (c *Cluster) makeArchive() error {
	if c.options.Archive == "" {
		return nil
	}
	var err error
	if c.options.Archive, err = filepath.Abs(c.options.Archive); err != nil {
		return err
	}
	if is, err := os.Stat(c.options.Archive); err == nil && !is.IsDir() {
		return fmt.Errorf("--archive (ARCHIVE) %s is a file: use a folder", c.options.Archive)
	} else if err != nil {
		if err := os.MkdirAll(c.options.Archive, 0o700); err != nil {
			return fmt.Errorf("--archive (ARCHIVE): %w", err)
		}
		if err := c.account.own(c.options.Archive); err != nil {
			return err
		}
	}
	if err := c.account.reaches(c.options.Archive); err != nil {
		return fmt.Errorf("--archive (ARCHIVE): %w", err)
	}
	return nil
}

// archiveArguments switch continuous archiving on (PostgreSQL manual, 26.3.1) by
// basic_archive, which is in contrib, as unaccent is: it copies, syncs, renames
// and refuses to overwrite another file, as a program of ours would, without a
// shell and without a second place where that program must be found.
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

// restoreCommand fetches a file from the archive: for a shell, which gets the
// name for %f and where it is to be for %p. Without an archive it finds nothing:
// recovery ends with the WAL of the backup itself.
func restoreCommand(archive string) string {
	if archive == "" {
		return "false"
	}
	// Inside single quotes a shell reads everything as it is; Postgres reads %.
	quoted := "'" + strings.NewReplacer("'", `'\''`, "%", "%%").Replace(archive+"/") + "'"
	return "cp " + quoted + `"%f" "%p"`
}

// archiveState is how archiving went when last seen.
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

// watchArchive warns whenever archiving failed since it was last seen. Postgres
// tries again for ever, and keeps the WAL until it is archived.
func (c *Cluster) watchArchive(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, askTime)
	defer done()
	var now archiveState
	var file string
	var waiting int64
	err := onSocket(c.options.Directory, "postgres", func(db *sql.DB) error {
		return db.QueryRowContext(ctx, archiverStatement).Scan(&now.failures, &file, &now.failing, &waiting)
	})
	switch {
	case err != nil: // It stops, or is too busy to say.
		return
	case now.failing && now.failures > c.archived.failures:
		c.log.Warn("the archive cannot be written; Postgres keeps the WAL on its own disk until it can: mend --archive (ARCHIVE), the lines of Postgres above say what is wrong",
			"archive", c.options.Archive, "file", file, "files_waiting", waiting)
	case c.archived.failing && !now.failing:
		c.log.Info("the archive is written again", "archive", c.options.Archive, "files_waiting", waiting)
	}
	c.archived = now
}
