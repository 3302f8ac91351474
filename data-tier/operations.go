package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"techtalks.example/data-tier/cluster"
)

// The commands of operators. Each prints its result on standard output.

func backup(ctx context.Context, o cluster.Options, destination, keep string, log *slog.Logger) error {
	count, err := strconv.Atoi(keep)
	if err != nil {
		return fmt.Errorf("--keep (KEEP) %q: use a number, 1 or more", keep)
	}
	taken, err := cluster.TakeBackup(ctx, cluster.BackupOptions{
		Directory: o.Directory, Binaries: o.Binaries, Destination: destination, Archive: o.Archive, Keep: count,
	}, log)
	if err != nil {
		return err
	}
	fmt.Printf("backup %s\nsize   %.1f MB\ntook   %s\n", taken.Path, float64(taken.Bytes)/1e6, taken.Took.Round(time.Millisecond))
	for _, old := range taken.Removed {
		fmt.Printf("removed %s\n", old.Path)
	}
	return nil
}

func restore(ctx context.Context, o cluster.Options, source, until string, log *slog.Logger) error {
	options := cluster.RestoreOptions{Options: o, Source: source}
	if until != "" {
		var err error
		if options.Until, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return fmt.Errorf("--until (UNTIL) %q: use a time as in 2006-01-02T15:04:05Z", until)
		}
	}
	r, err := cluster.Restore(ctx, options, log)
	if err != nil {
		return err
	}
	fmt.Printf("restored     %s\nfrom         %s\nlast commit  %s\ntook         %s\n",
		o.Directory, r.Backup.Path, formatTimeOr(r.LastCommit, "in the backup"), r.Took.Round(time.Millisecond))
	return nil
}

func promote(ctx context.Context, directory string, force bool) error {
	p, err := cluster.Promote(ctx, directory, force)
	if err != nil {
		return err
	}
	fmt.Printf("promoted     %s, timeline %d\nto replay    %d bytes of WAL, all replayed\nlast commit  %s\ntook         %s\n",
		directory, p.Timeline, p.Unreplayed, formatTimeOr(p.LastCommit, "none since it started"), p.Took.Round(time.Millisecond))
	return nil
}

// formatTimeOr formats a time as --until accepts it, or returns none if it is zero.
func formatTimeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.RFC3339Nano)
}
