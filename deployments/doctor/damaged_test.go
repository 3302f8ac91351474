package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startDamagedDataTier starts a data tier with a wrong clock, if the machine has libfaketime,
// and returns its address and a superuser's connection.
func startDamagedDataTier(t *testing.T) (address string, superuser *sql.DB, wrongClock bool) {
	t.Helper()
	var environment []string
	if found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1"); len(found) > 0 {
		environment, wrongClock = []string{"LD_PRELOAD=" + found[0], "FAKETIME=+90s", "DONT_FAKE_MONOTONIC=1"}, true
	}
	p, address, err := shared.startDataWith(environment, "damaged")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	// The superuser logs in over the Unix socket, whose folder is in the fifth line.
	text, err := os.ReadFile(filepath.Join(shared.directory("damaged"), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	superuser, err = sql.Open("postgres", "host='"+strings.Split(string(text), "\n")[4]+"' port="+port+" user=postgres dbname=techtalks sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = superuser.Close() })
	return address, superuser, wrongClock
}

// TestDoctorReportsDamagedDataTier damages a data tier in one way at a time and repairs it.
func TestDoctorReportsDamagedDataTier(t *testing.T) {
	address, superuser, wrongClock := startDamagedDataTier(t)
	alone := onLogic(t).with("DATA_ADDRESS", address).with("BROKER", "")
	for _, c := range []struct {
		name, damage, repair string
		environment          environment
		about, found, fix    string
	}{
		{"role can read tables of another", `grant usage on schema accounts to talks; grant select on accounts.account to talks`,
			`revoke usage on schema accounts from talks; revoke select on accounts.account from talks`,
			alone, ", role talks", "accounts.account", "revoke all"},
		{"outdated schema", `create table public.kept as select * from migrations.talks order by version_id desc limit 1; delete from migrations.talks where version_id = (select version_id from public.kept)`,
			`insert into migrations.talks overriding system value select * from public.kept; drop table public.kept`,
			alone, ", role talks", fmt.Sprintf("schema version %d; the newest is %d", newestVersions["talks"]-1, newestVersions["talks"]), "data-tier migrate"},
		{"missing role", `alter role media rename to renamed`, `alter role renamed rename to media`,
			alone, ", role media", "login failed", "data-tier migrate"},
		{"read-only primary", `alter database techtalks set default_transaction_read_only = on`, `set default_transaction_read_only = off; alter database techtalks reset default_transaction_read_only`,
			alone, "role in the tier", "read-only primary", "default_transaction_read_only"},
		{"two primaries", ``, ``, alone.with("DATA_ADDRESS", shared.dataAddress+","+address), "data tier", "several primaries", "stop all but the one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := superuser.ExecContext(t.Context(), c.damage); err != nil {
				t.Fatal(err)
			}
			expectFailure(t, c.environment, c.about, c.found, c.fix)
			if _, err := superuser.ExecContext(t.Context(), c.repair); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("no permission to read the schema version", func(t *testing.T) {
		if _, err := superuser.ExecContext(t.Context(), `revoke select on migrations.talks from talks`); err != nil {
			t.Fatal(err)
		}
		if output, _ := runDoctor(t, alone); !strings.Contains(output, "note  "+address+", role talks: ") || !strings.Contains(output, "no permission to read its schema's version") {
			t.Error(output)
		}
	})
	t.Run("clocks differ", func(t *testing.T) {
		if !wrongClock {
			t.Skip("libfaketime is missing (Debian: libfaketime): run deployments/local/install.sh hosts")
		}
		expectFailure(t, alone, address+", clock", "1m", "NTP")
		if output, _ := runDoctor(t, alone.with("DATA_ADDRESS", shared.dataAddress)); strings.Contains(output, "WRONG") {
			t.Error(output)
		}
	})
}

func TestDoctorReportsStoppedPrimary(t *testing.T) {
	t.Parallel()
	primary, data, err := shared.startData("stopped")
	if err != nil {
		t.Fatal(err)
	}
	standby, standbyAddress, err := shared.startData("orphaned", "--standby-of", data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.stop)
	primary.stop()
	env := onLogic(t).with("DATA_ADDRESS", data+","+standbyAddress).with("BROKER", "")
	expectFailure(t, env, data, "no process listens on this port", "docker compose ps")
	expectFailure(t, env, "data tier", "no primary", "data-tier promote")
	expectFailure(t, env, standbyAddress+", role in the tier", "receives no WAL from its primary", "STANDBY_OF")
}
