package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"techtalks.example/data-tier/cluster"
)

const addAccount = `insert into accounts.account (handle, display_name, password) values ($1, 'A', '')`

func (p *process) handles() []string {
	p.t.Helper()
	return column(p.t, p.as("accounts"), `select handle from accounts.account order by id`)
}

// What was acknowledged is there after a stop, and after a kill.
func TestARestartKeepsEverything(t *testing.T) {
	t.Parallel()
	directory := dataFolder(t)
	var want []string
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT} {
		p := start(t, directory, certificates)
		if got := p.handles(); !slices.Equal(got, want) {
			t.Fatalf("it starts with %v, want %v", got, want)
		}
		handle := "a" + fmt.Sprint(len(want))
		if _, err := p.as("accounts").ExecContext(t.Context(), addAccount, handle); err != nil {
			t.Fatal(err)
		}
		want = append(want, handle)
		p.signal(end)
		if err := p.awaitEnd(); (err != nil) != (end == syscall.SIGKILL) {
			t.Errorf("after %v it ends with %v\n%s", end, err, p.output())
		}
	}
	if got := start(t, directory, certificates).handles(); !slices.Equal(got, want) {
		t.Errorf("after all %v, want %v", got, want)
	}
}

// The Postgres of a tier that was killed goes too: nothing is left that would
// keep the port or the data.
func TestPostgresEndsWithItsTier(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	postgres := p.postgres()
	p.signal(syscall.SIGKILL)
	_ = p.awaitEnd()
	until(t, "Postgres is gone", func() bool { return syscall.Kill(postgres, 0) == syscall.ESRCH })
}

func TestTheTierEndsWithItsPostgres(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if err := syscall.Kill(p.postgres(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(); err == nil || !strings.Contains(p.output(), "Postgres ended by itself") {
		t.Errorf("it ends with %v\n%s", err, p.output())
	}
}

func TestPostgresIsNotRoot(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.postgres()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if user, is := strings.CutPrefix(line, "Uid:"); is {
			if slices.Contains(strings.Fields(user), "0") {
				t.Errorf("its user ids are %s", user)
			}
			return
		}
	}
	t.Errorf("no user in\n%s", status)
}

func TestASecondTierIsRefusedTheData(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	err := command(t, "serve", "--data-directory", p.directory, "--certificates", certificates, "--listen-address", "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "another data-tier runs on "+p.directory) {
		t.Errorf("the second: %v", err)
	}
	if _, err := p.connect("talks"); err != nil {
		t.Errorf("the first, after it: %v", err)
	}
}

func TestMigrationTakesTalksOutOfTheFuture(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.superuser().ExecContext(t.Context(), `
		insert into talks.channel (slug, title) values ('event', 'Event');
		insert into talks.talk (channel_id, slug, title, speakers, language, tags, media_url, recorded_on, published_at, description)
		select c.id, talk.slug, talk.slug, '{}', '', '{}', '', published_at::date, published_at, ''
		from   talks.channel c, (values ('future', timestamptz '2199-12-31'), ('past', '2019-05-03')) talk (slug, published_at)`); err != nil {
		t.Fatal(err)
	}
	migration, err := os.ReadFile("schema/talks/00005_no_future.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, up, _ := strings.Cut(string(migration), "-- +goose Up")
	up, _, found := strings.Cut(up, "-- +goose Down")
	if !found {
		t.Fatalf("the migration has no Up and Down:\n%s", migration)
	}
	if _, err := p.superuser().ExecContext(t.Context(), up); err != nil {
		t.Fatal(err)
	}
	got := column(t, p.superuser(), `
		select format('%s: published %s, recorded %s', slug, case when published_at > now() then 'in the future' else 'in the past' end, recorded_on)
		from talks.talk order by published_at`)
	want := []string{"past: published in the past, recorded 2019-05-03", "future: published in the past, recorded "}
	if !slices.Equal(got, want) {
		t.Errorf("talks are %q, want %q", got, want)
	}
}

// Migrating what is migrated changes nothing, also while it serves.
func TestMigratingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	shape := func() []string {
		return column(t, p.superuser(), `
			select format('%s %s %s %s', c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl)
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname !~ '^pg_|^information_schema$' order by c.oid`)
	}
	before := shape()
	if err := command(t, "migrate", "--data-directory", p.directory); err != nil {
		t.Fatal(err)
	}
	if after := shape(); !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if err := command(t, "health", "--data-directory", p.directory); err != nil {
		t.Errorf("health: %v", err)
	}
}

// Who waits until it is healthy, to start what connects to it, does not come before it is
// let in: as long as the database is set up, nobody is.
func TestItIsNotHealthyBeforeItLetsTheLogicTierIn(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	access := filepath.Join(p.directory, "pg_hba.conf")
	open, err := os.ReadFile(access)
	if err != nil {
		t.Fatal(err)
	}
	closed, _, _ := strings.Cut(string(open), "# From the logic tier")
	if err := os.WriteFile(access, []byte(closed), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := do(t, "health", "--data-directory", p.directory); err == nil || !strings.Contains(output, "lets nobody in yet") {
		t.Errorf("nobody is let in: %v, %s", err, output)
	}
}

// A first start that was interrupted leaves a half-made directory beside the
// place of the whole one.
func TestAnInterruptedFirstStartIsBegunAnew(t *testing.T) {
	t.Parallel()
	directory := dataFolder(t)
	if err := os.MkdirAll(directory+".new/base", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(directory+".new/PG_VERSION", []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, directory, certificates)
	if _, err := os.Stat(directory + ".new"); !os.IsNotExist(err) {
		t.Errorf("what was left over is there still: %v", err)
	}
}

// A certificate that is replaced is served to who connects next; who is
// connected stays. One that cannot be used is not taken.
func TestACertificateIsReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	replaced := filepath.Join(filepath.Dir(dataFolder(t)), "certificates")
	if err := os.CopyFS(replaced, os.DirFS(certificates)); err != nil {
		t.Fatal(err)
	}
	p := start(t, dataFolder(t), replaced)
	connection, err := p.as("talks").Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := serverCertificate(t, p.address)

	if err := os.WriteFile(replaced+"/data-tier.crt", []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "it says what is wrong", func() bool { return strings.Contains(p.output(), "certificates not taken") })
	if got := serverCertificate(t, p.address); got != first {
		t.Error("it serves another certificate than the last good one")
	}

	issue(replaced, "another.host")
	until(t, "the new one is served", func() bool { return serverCertificate(t, p.address) != first })
	if err := connection.PingContext(t.Context()); err != nil {
		t.Errorf("who was connected: %v", err)
	}
	if _, err := p.connect("talks", "host=127.0.0.1"); err != nil {
		t.Errorf("who connects next: %v", err)
	}
}

// command runs the program to its end; the error says what it wrote.
func command(t *testing.T, arguments ...string) error {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	file := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	occupied, newer, empty := dataFolder(t), dataFolder(t), dataFolder(t)
	file(occupied+"/diary.txt", "mine")
	file(newer+"/PG_VERSION", "99\n")
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"nothing to do":             {nil, "usage:"},
		"something else to do":      {[]string{"dance"}, "usage:"},
		"an unknown flag":           {[]string{"serve", "--dance"}, "not defined: -dance"},
		"no port":                   {[]string{"serve", "--data-directory", empty, "--listen-address", "localhost"}, "use host:port"},
		"no certificates":           {[]string{"serve", "--data-directory", empty, "--certificates", empty + "-none"}, "make them with deployments/certificates"},
		"no Postgres":               {[]string{"serve", "--data-directory", empty + "-either", "--binaries", empty + "-none"}, "no Postgres from version 15"},
		"a folder of other things":  {[]string{"serve", "--data-directory", occupied}, "is not empty and holds no Postgres data"},
		"data of a newer Postgres":  {[]string{"serve", "--data-directory", newer}, "install Postgres 99"},
		"migrate what is stopped":   {[]string{"migrate", "--data-directory", empty + "-none"}, "start it with data-tier serve"},
		"health of what is stopped": {[]string{"health", "--data-directory", empty + "-none"}, "no server runs on"},
	} {
		t.Run(name, func(t *testing.T) {
			err := command(t, c.arguments...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if content, err := os.ReadFile(occupied + "/diary.txt"); err != nil || string(content) != "mine" {
		t.Errorf("what was in the folder: %q, %v", content, err)
	}
}

func TestAFolderThatPostgresMayNotEnterIsNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("Postgres runs as who runs this")
	}
	closed := filepath.Dir(dataFolder(t))
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	err := command(t, "serve", "--data-directory", closed+"/data", "--certificates", certificates)
	if err == nil || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("got %v", err)
	}
}

// A Postgres that something else runs is migrated over a connection that is named.
func TestAPostgresElsewhereIsMigrated(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.superuser().ExecContext(t.Context(), `drop schema talks cascade; drop table migrations.talks`); err != nil {
		t.Fatal(err)
	}
	source, err := cluster.Socket(p.directory)
	if err != nil {
		t.Fatal(err)
	}
	if output := must(t, "migrate", "--source", source); !strings.Contains(output, "module=talks version=1") {
		t.Errorf("it says %s", output)
	}
	column(t, p.as("talks"), `select slug from talks.channel`)
	if output, err := do(t, "migrate", "--source", "host=/nowhere user=postgres"); err == nil || !strings.Contains(output, "nowhere") {
		t.Errorf("a Postgres that is not there: %v, %s", err, output)
	}
}

// A module may ask which version its schema has, and nobody else's.
func TestAModuleKnowsItsVersion(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if got := column(t, p.as("talks"), `select max(version_id)::text from migrations.talks`); got[0] == "0" {
		t.Errorf("its version is %s", got[0])
	}
	if _, err := p.as("talks").ExecContext(t.Context(), `select from migrations.accounts`); err == nil {
		t.Error("talks reads the version of accounts")
	}
}
