package main

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"testing"

	"github.com/lib/pq"

	"techtalks.example/data-tier/schema"
)

// deniedCode is SQLSTATE insufficient_privilege.
const deniedCode = "42501"

func code(err error) string {
	var answer *pq.Error
	if errors.As(err, &answer) {
		return string(answer.Code)
	}
	return ""
}

// A module's role reaches its own schema, changes nothing of its shape, and
// sees nothing of the others'.
func TestARoleReachesItsOwnSchemaAlone(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	superuser := p.superuser()
	tables := map[string][]string{}
	for _, module := range schema.Modules {
		tables[module] = column(t, superuser, `select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = $1`, module)
		if len(tables[module]) == 0 {
			t.Fatalf("%s has no table", module)
		}
	}
	for _, module := range schema.Modules {
		db := p.as(module)
		allowed := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Errorf("%s, to its own: %s: %v", module, statement, err)
			}
		}
		denied := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); code(err) != deniedCode {
				t.Errorf("%s: %s: %v, want it denied", module, statement, err)
			}
		}
		for other, theirs := range tables {
			for _, table := range theirs {
				if other == module {
					allowed("select from " + table)
					allowed("delete from " + table + " where false")
					denied("truncate " + table)
					denied("alter table " + table + " add column more text")
					denied("drop table " + table + " cascade")
					denied("create index on " + table + " ((1))")
				} else {
					denied("select from " + table)
					denied("insert into " + table + " default values")
					denied("delete from " + table)
				}
			}
		}
		denied("create table " + module + ".mine (id int)")
		denied("create table public.mine (id int)")
		denied("create temporary table mine (id int)")
		denied("create schema mine")
		denied("create role mine")
		denied("set role owner")
		denied("set role postgres")
		denied("set session authorization owner")
		denied("copy (select 1) to program 'true'")
		denied("select pg_read_file('pg_hba.conf')")
	}
}

// A module may publish to its own exchanges, and no more.
func TestAModulePublishesToItsOwnExchangesAlone(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.as("queue").ExecContext(t.Context(), `insert into queue.exchange (name, type, owner) select name, 'topic', name from unnest($1::text[]) name`, pq.Array(schema.Modules)); err != nil {
		t.Fatal(err)
	}
	for _, module := range schema.Modules {
		db := p.as(module)
		for _, exchange := range schema.Modules {
			for _, publish := range []string{
				`select queue.publish($1, 'key', 'type', '', '')`,
				`select queue.publish($1, 'key', 'type', '', '', null, 0, 0)`,
				`select queue.put_in_outbox($1, 'key', 'type', '', '', null, 0, 0)`,
			} {
				_, err := db.ExecContext(t.Context(), publish, exchange)
				if exchange == module && err != nil || exchange != module && code(err) != deniedCode {
					t.Errorf("%s publishes to the exchange of %s: %s: %v", module, exchange, publish, err)
				}
			}
		}
		if module == "queue" {
			continue
		}
		if _, err := db.ExecContext(t.Context(), `select from queue.exchange`); code(err) != deniedCode {
			t.Errorf("%s reads the queue: %v", module, err)
		}
	}
}

// A logic tier that does not record owners still publishes.
func TestAnExchangeWithoutAnOwnerTakesMessages(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.as("queue").ExecContext(t.Context(), `insert into queue.exchange (name, type) values ('e', 'topic')`); err != nil {
		t.Fatal(err)
	}
	if _, err := p.as("talks").ExecContext(t.Context(), `select queue.publish('e', 'key', 'type', '', '')`); err != nil {
		t.Error(err)
	}
}

func TestEveryModuleHasItsFolderAndItsRole(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(schema.Files, ".")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, entry := range entries {
		folders = append(folders, entry.Name())
	}
	modules := slices.Sorted(slices.Values(schema.Modules))
	if !slices.Equal(folders, modules) {
		t.Errorf("folders %v, migrated %v", folders, modules)
	}
	p := start(t, dataFolder(t), certificates)
	got := column(t, p.superuser(), `
		select rolname from pg_roles
		where rolcanlogin and not rolsuper and not rolcreaterole and not rolcreatedb and not rolbypassrls and not rolreplication
		order by 1`)
	if !slices.Equal(got, modules) {
		t.Errorf("roles %v, want %v", got, modules)
	}
	if passwords := column(t, p.superuser(), `select rolname from pg_authid where rolpassword is not null`); len(passwords) > 0 {
		t.Errorf("there are passwords: %v", passwords)
	}
}

// refusedInHandshake matches the error of a connection that the server ended because of the
// client's certificate. The server sends a TLS alert and closes; which of the two the
// client reads first is a race, and either proves the refusal.
func refusedInHandshake(alert string) string {
	return alert + "|connection reset by peer|broken pipe|EOF"
}

func TestAccessIsRefusedWithoutTheLogicTiersCertificate(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.connect("talks"); err != nil {
		t.Fatalf("the logic tier cannot connect: %v", err)
	}
	of := func(directory, name string) string {
		return "sslcert=" + directory + "/" + name + ".crt sslkey=" + directory + "/" + name + ".key"
	}
	for name, c := range map[string]struct{ role, options, want string }{
		"without TLS":                              {"talks", "sslmode=disable", "rejects connection"},
		"without a certificate":                    {"talks", "sslcert='' sslkey=''", refusedInHandshake("certificate")},
		"by the web tier's certificate":            {"talks", of(certificates, "web-tier"), "certificate authentication failed"},
		"by the operator's certificate":            {"talks", of(certificates, "operator"), "certificate authentication failed"},
		"by a certificate of another authority":    {"talks", of(foreign, "logic-tier"), refusedInHandshake("unknown certificate authority")},
		"as the superuser":                         {"postgres", "", "rejects connection"},
		"as the owner":                             {"owner", "", "rejects connection"},
		"to another database":                      {"talks", "dbname=postgres", "rejects connection"},
		"to a server of another authority":         {"talks", "sslrootcert=" + foreign + "/ca.crt", "unknown authority"},
		"as somebody who is not there":             {"nobody", "", "rejects connection"},
		"to a server that is not who it should be": {"talks", "host=127.0.0.2", "127.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.connect(c.role, c.options)
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("got %v, want a match of %q", err, c.want)
			}
		})
	}
}

// serverCertificate returns the serial number of what the server shows: a
// client asks for TLS by an SSLRequest (PostgreSQL manual, 55.2.10).
func serverCertificate(t *testing.T, address string) string {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := binary.Write(connection, binary.BigEndian, [2]uint32{8, 80877103}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(connection, answer); err != nil || answer[0] != 'S' {
		t.Fatalf("no TLS: %q, %v", answer, err)
	}
	client := tls.Client(connection, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whatever it shows
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
