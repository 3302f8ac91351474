package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// add inserts an account and returns once the write is acknowledged.
func (p *process) add(handle string) {
	p.t.Helper()
	if _, err := p.as("accounts").ExecContext(p.t.Context(), addAccount, handle); err != nil {
		p.t.Fatal(err)
	}
}

// epoch returns the epoch of notification cursors.
func (p *process) epoch() string {
	p.t.Helper()
	return column(p.t, p.as("notifications"), `select epoch from notifications.epoch`)[0]
}

// archive waits until all WAL written so far is in the archive.
func (p *process) archive() {
	p.t.Helper()
	db := p.superuser()
	file := column(p.t, db, `select pg_walfile_name(pg_switch_wal())`)[0]
	until(p.t, file+" is in the archive", func() bool {
		return len(column(p.t, db, `select 1 from pg_stat_archiver where last_archived_wal >= $1`, file)) == 1
	})
}

// now returns the server's time, by which commits are recorded.
func (p *process) now() string {
	p.t.Helper()
	return column(p.t, p.superuser(), `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)[0]
}

// A restore contains every write acknowledged before, during and after the backup,
// and starts a new epoch.
func TestRestoreAfterOnlineBackupKeepsAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	directory := dataFolder(t)
	beside := filepath.Dir(directory)
	backups, archive, target := filepath.Join(beside, "backups"), filepath.Join(beside, "archive"), filepath.Join(beside, "restored")
	p := start(t, directory, certificates, "--archive", archive)
	p.add("before")
	var acknowledged []string
	var writing sync.WaitGroup
	stop := make(chan struct{})
	db := p.as("accounts")
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			handle := fmt.Sprintf("during-%d", n)
			if _, err := db.ExecContext(t.Context(), addAccount, handle); err != nil {
				t.Error(err)
				return
			}
			acknowledged = append(acknowledged, handle)
		}
	})
	output := must(t, "backup", "--data-directory", directory, "--to", backups, "--archive", archive)
	close(stop)
	writing.Wait()
	if !strings.Contains(output, "backup "+backups) || !strings.Contains(output, "MB") {
		t.Errorf("got output %q, want the backup's path and size", output)
	}
	if len(acknowledged) == 0 {
		t.Error("no write was acknowledged during the backup")
	}
	p.add("since")
	p.archive()
	want := append(append([]string{"before"}, acknowledged...), "since")
	epoch := p.epoch()
	p.signal(syscall.SIGKILL)
	_ = p.awaitExit()

	must(t, "restore", "--from", backups, "--archive", archive, "--data-directory", target, "--certificates", certificates)
	restored := start(t, target, certificates)
	if got := restored.handles(); !slices.Equal(got, want) {
		t.Errorf("got %d restored accounts, want %d", len(got), len(want))
	}
	if restored.epoch() == epoch {
		t.Error("the restore kept the epoch: clients would resume from invalid cursors")
	}
	restored.add("new") // it accepts writes
}

func TestRestoreToPointInTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	directory := dataFolder(t)
	beside := filepath.Dir(directory)
	backups, archive := filepath.Join(beside, "backups"), filepath.Join(beside, "archive")
	p := start(t, directory, certificates, "--archive", archive)
	must(t, "backup", "--data-directory", directory, "--to", backups, "--archive", archive)
	p.add("before")
	then := p.now()
	p.add("mistake")
	p.archive()
	p.signal(syscall.SIGTERM)
	_ = p.awaitExit()

	restore := func(name string, flags ...string) (string, error) {
		return do(t, "restore", append([]string{"--from", backups, "--archive", archive, "--data-directory", filepath.Join(beside, name), "--certificates", certificates}, flags...)...)
	}
	if output, err := restore("then", "--until", then); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := start(t, filepath.Join(beside, "then"), certificates).handles(); !slices.Equal(got, []string{"before"}) {
		t.Errorf("restored to %s: got accounts %v, want only \"before\"", then, got)
	}
	// A failed restore prints a fix and leaves no directory behind.
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"before the first backup": {[]string{"--until", "2020-01-01T00:00:00Z"}, "before the first backup ended"},
		"in the future":           {[]string{"--until", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "is in the future"},
		"invalid time":            {[]string{"--until", "yesterday"}, "use a time as in"},
		"no archive":              {[]string{"--until", then, "--archive", ""}, "--archive (ARCHIVE)"},
		"missing archive":         {[]string{"--archive", filepath.Join(beside, "missing")}, "--archive (ARCHIVE)"},
		"no backup":               {[]string{"--from", archive}, "run data-tier backup"},
		"data directory in use":   {[]string{"--data-directory", directory}, "is not empty"},
	} {
		output, err := restore("never", c.flags...)
		if err == nil || !strings.Contains(output, c.want) {
			t.Errorf("%s: got %v, %s, want %q", name, err, output, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(beside, "never")); err == nil {
		t.Error("a failed restore left a directory behind")
	}
}

func TestBackupKeepsConfiguredNumber(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	directory := dataFolder(t)
	backups := filepath.Join(filepath.Dir(directory), "backups")
	start(t, directory, certificates)
	for range 3 {
		must(t, "backup", "--data-directory", directory, "--to", backups, "--keep", "2")
	}
	found, err := filepath.Glob(filepath.Join(backups, "*Z"))
	if err != nil || len(found) != 2 {
		t.Errorf("got backups %v, %v, want 2", found, err)
	}
	if output, err := do(t, "backup", "--data-directory", directory, "--to", backups, "--keep", "0"); err == nil || !strings.Contains(output, "keep at least 1") {
		t.Errorf("--keep 0: got %v, %s, want an error", err, output)
	}
}

func TestRestoreRejectsDamagedBackup(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	directory := dataFolder(t)
	beside := filepath.Dir(directory)
	backups := filepath.Join(beside, "backups")
	start(t, directory, certificates)
	must(t, "backup", "--data-directory", directory, "--to", backups)
	found, err := filepath.Glob(filepath.Join(backups, "*Z", "global", "pg_control"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if err := os.WriteFile(found[0], make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := do(t, "restore", "--from", backups, "--data-directory", filepath.Join(beside, "again"), "--certificates", certificates)
	if err == nil || !strings.Contains(output, "the backup is damaged") {
		t.Errorf("got %v, %s, want the backup to be reported as damaged", err, output)
	}
	if output, err := do(t, "serve", "--data-directory", filepath.Join(beside, "again"), "--certificates", certificates, "--listen-address", "127.0.0.1:0"); err == nil || !strings.Contains(output, "a restore into") {
		t.Errorf("serving after a failed restore: got %v, %s, want an error", err, output)
	}
}
