package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// minFreePercent is the minimum of free space, in percent. It leaves space for a night's
	// growth: WAL retained for the archive or a standby, a vacuum of a large table.
	minFreePercent = 10
	// backupLayout is the layout of the names of backup folders, as created by "data-tier
	// backup": the time at which the backup finished, in UTC.
	backupLayout = "20060102T150405.000Z"
)

// diskChecks returns the checks of the data tier's directories.
func (s settings) diskChecks() []check {
	var checks []check
	if s.dataDirectory == "" {
		checks = append(checks, missing("DATA_DIRECTORY", "the data directory of Postgres", "/var/lib/techtalks/data"))
	} else {
		checks = append(checks, s.checkFreeSpace("the data", s.dataDirectory, "enlarge the disk, or find what fills it: pg_wal grows while the archive is not writable or a standby is disconnected"))
	}
	if s.archive != "" {
		checks = append(checks, s.checkFreeSpace("the WAL archive", s.archive, "enlarge the disk, or keep fewer backups (KEEP): \"data-tier backup\" deletes WAL that no backup needs"))
	}
	if s.backups != "" {
		checks = append(checks, s.checkFreeSpace("the backups", s.backups, "enlarge the disk, or keep fewer backups (KEEP)"), s.checkNewestBackup())
	}
	return checks
}

func (s settings) checkFreeSpace(content, directory, fix string) check {
	return withDeadline(s.deadline, "disk of "+content+" "+directory, func(context.Context) finding {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(directory, &disk); err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "set DATA_DIRECTORY, ARCHIVE or BACKUPS to the data tier's value, and run doctor as the data tier's user"}
		}
		// As in df(1), space reserved for root is excluded.
		total := disk.Blocks - disk.Bfree + disk.Bavail
		if total == 0 {
			return finding{Verdict: verdictNote, Found: "the file system does not report its size"}
		}
		free := disk.Bavail * 100 / total
		found := fmt.Sprintf("%d %% free, %.1f GB", free, float64(disk.Bavail)*float64(disk.Bsize)/1e9)
		if free < minFreePercent {
			return finding{Verdict: verdictWrong, Found: found, Fix: fix}
		}
		return finding{Verdict: verdictOK, Found: found}
	})
}

func (s settings) checkNewestBackup() check {
	return withDeadline(s.deadline, "newest backup in "+s.backups, func(context.Context) finding {
		entries, err := os.ReadDir(s.backups)
		if err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "set BACKUPS to the folder of the backups, and run doctor as the data tier's user"}
		}
		const fix = "run \"data-tier backup\" now, and daily by a timer; its log has the reason of a failure"
		var newest time.Time
		for _, entry := range entries {
			if finished, err := time.Parse(backupLayout, entry.Name()); err == nil && entry.IsDir() && finished.After(newest) {
				newest = finished
			}
		}
		if newest.IsZero() {
			return finding{Verdict: verdictWrong, Found: "no backup", Fix: fix}
		}
		age := time.Since(newest)
		found := fmt.Sprintf("from %s, %s old", newest.Format(time.RFC3339), age.Round(time.Second))
		if age > s.backupAge {
			return finding{Verdict: verdictWrong, Found: found + "; the maximum is " + s.backupAge.String() + " (BACKUP_AGE)", Fix: fix}
		}
		return finding{Verdict: verdictOK, Found: found}
	})
}
