package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damaged is a data tier of its own, whose clock goes wrong where the machine has
// libfaketime, and superuser there.
func damaged(t *testing.T) (at string, superuser *sql.DB, wrongClock bool) {
	t.Helper()
	var environment []string
	if found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1"); len(found) > 0 {
		environment, wrongClock = []string{"LD_PRELOAD=" + found[0], "FAKETIME=+90s", "DONT_FAKE_MONOTONIC=1"}, true
	}
	p, at, err := the.startDataWith(environment, "damaged")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	// As the user that runs it, over its own socket, which is named in the fifth line.
	text, err := os.ReadFile(filepath.Join(the.directory("damaged"), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(at, ":")
	superuser, err = sql.Open("postgres", "host='"+strings.Split(string(text), "\n")[4]+"' port="+port+" user=postgres dbname=techtalks sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = superuser.Close() })
	return at, superuser, wrongClock
}

// Each is done to a data tier and taken back, so that one thing is wrong at a time.
func TestADamagedDataTier(t *testing.T) {
	at, superuser, wrongClock := damaged(t)
	alone := onLogic(t).but("DATA_ADDRESS", at).but("BROKER", "")
	for _, c := range []struct {
		name, damage, mend string
		told               told
		about, found, fix  string
	}{
		{"a role that may read what is another's", `grant usage on schema accounts to talks; grant select on accounts.account to talks`,
			`revoke usage on schema accounts from talks; revoke select on accounts.account from talks`,
			alone, ", role talks", "accounts.account", "revoke all"},
		{"a schema that is not the newest", `create table public.kept as select * from migrations.talks order by version_id desc limit 1; delete from migrations.talks where version_id = (select version_id from public.kept)`,
			`insert into migrations.talks overriding system value select * from public.kept; drop table public.kept`,
			alone, ", role talks", fmt.Sprintf("its schema has version %d, and there is a version %d", newest["talks"]-1, newest["talks"]), "data-tier migrate"},
		{"a role that is not there", `alter role media rename to gone`, `alter role gone rename to media`,
			alone, ", role media", "not let in", "data-tier migrate"},
		{"a primary that takes no writes", `alter database techtalks set default_transaction_read_only = on`, `set default_transaction_read_only = off; alter database techtalks reset default_transaction_read_only`,
			alone, "role in the tier", "takes no writes", "default_transaction_read_only"},
		{"two primaries", ``, ``, alone.but("DATA_ADDRESS", the.data+","+at), "data tier", "several take writes", "stop all but the one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := superuser.ExecContext(t.Context(), c.damage); err != nil {
				t.Fatal(err)
			}
			expect(t, c.told, c.about, c.found, c.fix)
			if _, err := superuser.ExecContext(t.Context(), c.mend); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("what a version is may not be asked", func(t *testing.T) {
		if _, err := superuser.ExecContext(t.Context(), `revoke select on migrations.talks from talks`); err != nil {
			t.Fatal(err)
		}
		if output, _ := ask(t, alone); !strings.Contains(output, "note  "+at+", role talks: ") || !strings.Contains(output, "it may not ask for its schema's version") {
			t.Error(output)
		}
	})
	t.Run("clocks that differ", func(t *testing.T) {
		if !wrongClock {
			t.Skip("libfaketime is missing (Debian: libfaketime): run deployments/local/install.sh hosts")
		}
		expect(t, alone, at+", clock", "1m", "NTP")
		if output, _ := ask(t, alone.but("DATA_ADDRESS", the.data)); strings.Contains(output, "WRONG") {
			t.Error(output)
		}
	})
}

// A data tier that is stopped is said to be, and what its standby then lacks.
func TestTheDataTierIsStopped(t *testing.T) {
	t.Parallel()
	primary, data, err := the.startData("stopped")
	if err != nil {
		t.Fatal(err)
	}
	standby, standbyAt, err := the.startData("left", "--standby-of", data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.stop)
	primary.stop()
	told := onLogic(t).but("DATA_ADDRESS", data+","+standbyAt).but("BROKER", "")
	expect(t, told, data, "nobody listens on this port", "docker compose ps")
	expect(t, told, "data tier", "nobody takes writes", "data-tier promote")
	expect(t, told, standbyAt+", role in the tier", "receives nothing from its primary", "STANDBY_OF")
}
