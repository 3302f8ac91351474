package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// leastFree is the part of a disk, in percent, below which there is no room for what a
	// night brings: WAL that waits for the archive or a standby, a vacuum of a large table.
	leastFree = 10
	// backupName is the layout of a backup's folder, as "data-tier backup" makes it: when it
	// ended, in UTC.
	backupName = "20060102T150405.000Z"
)

// disks looks at the directories of the data tier's host.
func (s settings) disks() []check {
	var all []check
	if s.dataDirectory == "" {
		all = append(all, missing("DATA_DIRECTORY", "where does Postgres keep its files?", "/var/lib/techtalks/data"))
	} else {
		all = append(all, s.room("the data", s.dataDirectory, "make the disk larger, or see what fills it: pg_wal grows while the archive cannot be written or a standby is away"))
	}
	if s.archive != "" {
		all = append(all, s.room("the WAL archive", s.archive, "make the disk larger, or keep fewer backups (KEEP): \"data-tier backup\" removes the WAL that none of them needs"))
	}
	if s.backups != "" {
		all = append(all, s.room("the backups", s.backups, "make the disk larger, or keep fewer backups (KEEP)"), s.newestBackup())
	}
	return all
}

func (s settings) room(whose, directory, remedy string) check {
	return within(s.deadline, "disk of "+whose+" "+directory, func(context.Context) finding {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(directory, &disk); err != nil {
			return finding{Verdict: wrong, Found: err.Error(), Fix: "say where it is, as the data tier is told (DATA_DIRECTORY, ARCHIVE, BACKUPS), and run this as its user"}
		}
		// As df(1) counts: what is left for users, of what they could have.
		total := disk.Blocks - disk.Bfree + disk.Bavail
		if total == 0 {
			return finding{Verdict: noted, Found: "it does not say how large it is"}
		}
		free := disk.Bavail * 100 / total
		found := fmt.Sprintf("%d %% free, %.1f GB", free, float64(disk.Bavail)*float64(disk.Bsize)/1e9)
		if free < leastFree {
			return finding{Verdict: wrong, Found: found, Fix: remedy}
		}
		return finding{Verdict: fine, Found: found}
	})
}

func (s settings) newestBackup() check {
	return within(s.deadline, "newest backup in "+s.backups, func(context.Context) finding {
		entries, err := os.ReadDir(s.backups)
		if err != nil {
			return finding{Verdict: wrong, Found: err.Error(), Fix: "say with BACKUPS where they are, and run this as the data tier's user"}
		}
		const make = "run \"data-tier backup\" now, and have a timer run it each day; its log says why the last one failed"
		var last time.Time
		for _, entry := range entries {
			if ended, err := time.Parse(backupName, entry.Name()); err == nil && entry.IsDir() && ended.After(last) {
				last = ended
			}
		}
		if last.IsZero() {
			return finding{Verdict: wrong, Found: "there is none", Fix: make}
		}
		age := time.Since(last)
		found := fmt.Sprintf("of %s, %s old", last.Format(time.RFC3339), age.Round(time.Second))
		if age > s.backupAge {
			return finding{Verdict: wrong, Found: found + "; " + s.backupAge.String() + " are allowed (BACKUP_AGE)", Fix: make}
		}
		return finding{Verdict: fine, Found: found}
	})
}
