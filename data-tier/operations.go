package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"techtalks.example/data-tier/cluster"
)

// What an operator asks for. Each prints on standard output what came of it.

func backup(ctx context.Context, o cluster.Options, to, keep string, log *slog.Logger) error {
	most, err := strconv.Atoi(keep)
	if err != nil {
		return fmt.Errorf("--keep (KEEP) %q: use a number, 1 or more", keep)
	}
	taken, err := cluster.TakeBackup(ctx, cluster.BackupOptions{
		Directory: o.Directory, Binaries: o.Binaries, To: to, Archive: o.Archive, Keep: most,
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

func restore(ctx context.Context, o cluster.Options, from, until string, log *slog.Logger) error {
	restore := cluster.RestoreOptions{Options: o, From: from}
	if until != "" {
		var err error
		if restore.Until, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return fmt.Errorf("--until (UNTIL) %q: use a time as in 2006-01-02T15:04:05Z", until)
		}
	}
	is, err := cluster.Restore(ctx, restore, log)
	if err != nil {
		return err
	}
	fmt.Printf("restored     %s\nfrom         %s\nlast commit  %s\ntook         %s\n",
		o.Directory, is.From.Path, or(is.LastCommit, "in the backup"), is.Took.Round(time.Millisecond))
	return nil
}

func promote(ctx context.Context, directory string, force bool) error {
	is, err := cluster.Promote(ctx, directory, force)
	if err != nil {
		return err
	}
	fmt.Printf("promoted     %s, timeline %d\nto replay    %d bytes of WAL, all replayed\nlast commit  %s\ntook         %s\n",
		directory, is.Timeline, is.Unreplayed, or(is.LastCommit, "none since it started"), is.Took.Round(time.Millisecond))
	return nil
}

// or is a time as --until takes it, or what to say when there is none.
func or(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.RFC3339Nano)
}
