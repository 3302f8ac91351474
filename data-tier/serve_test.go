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

func TestRestartKeepsAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	directory := dataFolder(t)
	var want []string
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT} {
		p := start(t, directory, certificates)
		if got := p.handles(); !slices.Equal(got, want) {
			t.Fatalf("after a restart: got accounts %v, want %v", got, want)
		}
		handle := "a" + fmt.Sprint(len(want))
		if _, err := p.as("accounts").ExecContext(t.Context(), addAccount, handle); err != nil {
			t.Fatal(err)
		}
		want = append(want, handle)
		p.signal(signal)
		if err := p.awaitExit(); (err != nil) != (signal == syscall.SIGKILL) {
			t.Errorf("exit after %v: %v\n%s", signal, err, p.output())
		}
	}
	if got := start(t, directory, certificates).handles(); !slices.Equal(got, want) {
		t.Errorf("after the last restart: got accounts %v, want %v", got, want)
	}
}

// The Postgres of a killed tier exits too, and does not keep the port or the data
// in use.
func TestPostgresExitsWithItsTier(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	postgres := p.postgres()
	p.signal(syscall.SIGKILL)
	_ = p.awaitExit()
	until(t, "Postgres has exited", func() bool { return syscall.Kill(postgres, 0) == syscall.ESRCH })
}

func TestTierExitsWithItsPostgres(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if err := syscall.Kill(p.postgres(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitExit(); err == nil || !strings.Contains(p.output(), "Postgres exited unexpectedly") {
		t.Errorf("got exit %v, want an error\n%s", err, p.output())
	}
}

func TestPostgresDoesNotRunAsRoot(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.postgres()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if user, found := strings.CutPrefix(line, "Uid:"); found {
			if slices.Contains(strings.Fields(user), "0") {
				t.Errorf("got user ids %s, want none of them 0", user)
			}
			return
		}
	}
	t.Errorf("no user id in\n%s", status)
}

func TestSecondTierCannotUseDataDirectory(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	err := command(t, "serve", "--data-directory", p.directory, "--certificates", certificates, "--listen-address", "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "another data-tier runs on "+p.directory) {
		t.Errorf("second data tier: got %v, want it to name the first", err)
	}
	if _, err := p.connect("talks"); err != nil {
		t.Errorf("first data tier, after the second failed: %v", err)
	}
}

func TestMigrationMovesTalksFromFutureToPresent(t *testing.T) {
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
		t.Errorf("got talks %q, want %q", got, want)
	}
}

func TestMigrateIsIdempotentWhileServing(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	relations := func() []string {
		return column(t, p.superuser(), `
			select format('%s %s %s %s', c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl)
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname !~ '^pg_|^information_schema$' order by c.oid`)
	}
	before := relations()
	if err := command(t, "migrate", "--data-directory", p.directory); err != nil {
		t.Fatal(err)
	}
	if after := relations(); !slices.Equal(before, after) {
		t.Errorf("got relations\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	if err := command(t, "health", "--data-directory", p.directory); err != nil {
		t.Errorf("health: %v", err)
	}
}

// Orchestrators start the logic tier once the data tier is healthy.
func TestHealthFailsUntilLogicTierIsAdmitted(t *testing.T) {
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
	if output, err := do(t, "health", "--data-directory", p.directory); err == nil || !strings.Contains(output, "does not admit the logic tier yet") {
		t.Errorf("health before the logic tier is admitted: got %v, %s, want an error", err, output)
	}
}

// An interrupted first start leaves an incomplete directory beside the data directory.
func TestServeStartsOverAfterInterruptedFirstStart(t *testing.T) {
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
		t.Errorf("the incomplete directory still exists: %v", err)
	}
}

// New connections get a replaced certificate, and existing connections stay. An
// unusable certificate is ignored.
func TestCertificateIsReplacedWithoutRestart(t *testing.T) {
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
	until(t, "the data tier logs the invalid certificate", func() bool { return strings.Contains(p.output(), "invalid certificates") })
	if got := serverCertificate(t, p.address); got != first {
		t.Errorf("got certificate %s, want the last valid one, %s", got, first)
	}

	issue(replaced, "another.host")
	until(t, "the new certificate is in use", func() bool { return serverCertificate(t, p.address) != first })
	if err := connection.PingContext(t.Context()); err != nil {
		t.Errorf("existing connection: %v", err)
	}
	if _, err := p.connect("talks", "host=127.0.0.1"); err != nil {
		t.Errorf("new connection: %v", err)
	}
}

// command runs the program until it exits; the error includes its output.
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

func TestInvalidArgumentsAreReported(t *testing.T) {
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
		"no command":               {nil, "usage:"},
		"an unknown command":       {[]string{"dance"}, "usage:"},
		"an unknown flag":          {[]string{"serve", "--dance"}, "not defined: -dance"},
		"no port":                  {[]string{"serve", "--data-directory", empty, "--listen-address", "localhost"}, "use host:port"},
		"no certificates":          {[]string{"serve", "--data-directory", empty, "--certificates", empty + "-none"}, "make them with deployments/certificates"},
		"no Postgres":              {[]string{"serve", "--data-directory", empty + "-either", "--binaries", empty + "-none"}, "no Postgres from version 15"},
		"a folder of other files":  {[]string{"serve", "--data-directory", occupied}, "is not empty and holds no Postgres data"},
		"data of a newer Postgres": {[]string{"serve", "--data-directory", newer}, "install Postgres 99"},
		"migrate a stopped server": {[]string{"migrate", "--data-directory", empty + "-none"}, "start it with data-tier serve"},
		"health of stopped server": {[]string{"health", "--data-directory", empty + "-none"}, "no server runs on"},
	} {
		t.Run(name, func(t *testing.T) {
			err := command(t, c.arguments...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if content, err := os.ReadFile(occupied + "/diary.txt"); err != nil || string(content) != "mine" {
		t.Errorf("got content %q, %v, want the file unchanged", content, err)
	}
}

func TestServeNamesFolderThatPostgresCannotEnter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: otherwise Postgres runs as the user of this test")
	}
	closed := filepath.Dir(dataFolder(t))
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	err := command(t, "serve", "--data-directory", closed+"/data", "--certificates", certificates)
	if err == nil || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("got %v, want a chmod command for %s", err, closed)
	}
}

func TestMigrateConnectsToSource(t *testing.T) {
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
		t.Errorf("got output %s, want a migration of talks", output)
	}
	column(t, p.as("talks"), `select slug from talks.channel`)
	if output, err := do(t, "migrate", "--source", "host=/nowhere user=postgres"); err == nil || !strings.Contains(output, "nowhere") {
		t.Errorf("unreachable source: got %v, %s, want an error", err, output)
	}
}

func TestModuleReadsOnlyItsOwnSchemaVersion(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if got := column(t, p.as("talks"), `select max(version_id)::text from migrations.talks`); got[0] == "0" {
		t.Errorf("got version %s, want a later one", got[0])
	}
	if _, err := p.as("talks").ExecContext(t.Context(), `select from migrations.accounts`); err == nil {
		t.Error("talks can read the version of accounts")
	}
}
