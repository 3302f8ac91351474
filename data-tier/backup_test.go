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

// add writes an account and returns once that is acknowledged.
func (p *process) add(handle string) {
	p.t.Helper()
	if _, err := p.as("accounts").ExecContext(p.t.Context(), addAccount, handle); err != nil {
		p.t.Fatal(err)
	}
}

// epoch is the one that clients' cursors count in.
func (p *process) epoch() string {
	p.t.Helper()
	return column(p.t, p.as("notifications"), `select epoch from notifications.epoch`)[0]
}

// archive waits until everything that was written so far is in the archive.
func (p *process) archive() {
	p.t.Helper()
	db := p.superuser()
	file := column(p.t, db, `select pg_walfile_name(pg_switch_wal())`)[0]
	until(p.t, file+" is in the archive", func() bool {
		return len(column(p.t, db, `select 1 from pg_stat_archiver where last_archived_wal >= $1`, file)) == 1
	})
}

// now is the time by the clock of commits.
func (p *process) now() string {
	p.t.Helper()
	return column(p.t, p.superuser(), `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)[0]
}

// What was acknowledged before the backup, while it was taken, and since then is there
// again; and who followed something is told to begin anew.
func TestABackupThatIsTakenWhileItServesIsRestored(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	directory := dataFolder(t)
	beside := filepath.Dir(directory)
	backups, archive, again := filepath.Join(beside, "backups"), filepath.Join(beside, "archive"), filepath.Join(beside, "again")
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
	said := must(t, "backup", "--data-directory", directory, "--to", backups, "--archive", archive)
	close(stop)
	writing.Wait()
	if !strings.Contains(said, "backup "+backups) || !strings.Contains(said, "MB") {
		t.Errorf("it says %q", said)
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was written while the backup was taken")
	}
	p.add("since")
	p.archive()
	want := append(append([]string{"before"}, acknowledged...), "since")
	epoch := p.epoch()
	p.signal(syscall.SIGKILL)
	_ = p.awaitEnd()

	must(t, "restore", "--from", backups, "--archive", archive, "--data-directory", again, "--certificates", certificates)
	restored := start(t, again, certificates)
	if got := restored.handles(); !slices.Equal(got, want) {
		t.Errorf("%d accounts are restored, want %d", len(got), len(want))
	}
	if restored.epoch() == epoch {
		t.Error("the epoch is the same: clients would go on from cursors that count nothing here")
	}
	restored.add("new") // it takes writes
}

func TestARestoreToAPointInTime(t *testing.T) {
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
	_ = p.awaitEnd()

	restore := func(to string, flags ...string) (string, error) {
		return do(t, "restore", append([]string{"--from", backups, "--archive", archive, "--data-directory", filepath.Join(beside, to), "--certificates", certificates}, flags...)...)
	}
	if output, err := restore("then", "--until", then); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := start(t, filepath.Join(beside, "then"), certificates).handles(); !slices.Equal(got, []string{"before"}) {
		t.Errorf("at %s there were %v", then, got)
	}
	// What cannot be is said, with what to do, and leaves nothing behind.
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"before the first backup":    {[]string{"--until", "2020-01-01T00:00:00Z"}, "before the first backup ended"},
		"in the future":              {[]string{"--until", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "is in the future"},
		"no time":                    {[]string{"--until", "yesterday"}, "use a time as in"},
		"no archive":                 {[]string{"--until", then, "--archive", ""}, "--archive (ARCHIVE)"},
		"an archive that is nowhere": {[]string{"--archive", filepath.Join(beside, "nowhere")}, "--archive (ARCHIVE)"},
		"no backup there":            {[]string{"--from", archive}, "data-tier backup makes one"},
		"a directory that is taken":  {[]string{"--data-directory", directory}, "is not empty"},
	} {
		output, err := restore("never", c.flags...)
		if err == nil || !strings.Contains(output, c.says) {
			t.Errorf("%s: %v, %s", name, err, output)
		}
	}
	if _, err := os.Stat(filepath.Join(beside, "never")); err == nil {
		t.Error("what was refused left a directory")
	}
}

func TestOnlySoManyBackupsAreKept(t *testing.T) {
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
		t.Errorf("there are %v, %v", found, err)
	}
	if output, err := do(t, "backup", "--data-directory", directory, "--to", backups, "--keep", "0"); err == nil || !strings.Contains(output, "keep at least 1") {
		t.Errorf("to keep none: %v, %s", err, output)
	}
}

// A backup whose files were changed is not restored.
func TestADamagedBackupIsNotRestored(t *testing.T) {
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
		t.Errorf("%v, %s", err, output)
	}
	if output, err := do(t, "serve", "--data-directory", filepath.Join(beside, "again"), "--certificates", certificates, "--listen-address", "127.0.0.1:0"); err == nil || !strings.Contains(output, "a restore into") {
		t.Errorf("what it left is served: %v, %s", err, output)
	}
}
