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

// sqlState returns the SQLSTATE of an error from Postgres, or "".
func sqlState(err error) string {
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		return string(pqErr.Code)
	}
	return ""
}

// A module's role can read and write the tables of its own schema, but neither
// alter them nor access another schema.
func TestRoleAccessesOnlyItsOwnSchema(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	superuser := p.superuser()
	tables := map[string][]string{}
	for _, module := range schema.Modules {
		tables[module] = column(t, superuser, `select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = $1`, module)
		if len(tables[module]) == 0 {
			t.Fatalf("schema %s has no table", module)
		}
	}
	for _, module := range schema.Modules {
		db := p.as(module)
		allowed := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Errorf("%s: %s: %v, want success", module, statement, err)
			}
		}
		denied := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); sqlState(err) != deniedCode {
				t.Errorf("%s: %s: got %v, want insufficient privilege", module, statement, err)
			}
		}
		for schemaName, schemaTables := range tables {
			for _, table := range schemaTables {
				if schemaName == module {
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

func TestModulePublishesOnlyToItsOwnExchanges(t *testing.T) {
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
				if exchange == module && err != nil || exchange != module && sqlState(err) != deniedCode {
					t.Errorf("%s publishing to the exchange of %s: %s: %v", module, exchange, publish, err)
				}
			}
		}
		if module == "queue" {
			continue
		}
		if _, err := db.ExecContext(t.Context(), `select from queue.exchange`); sqlState(err) != deniedCode {
			t.Errorf("%s reading the queue: got %v, want insufficient privilege", module, err)
		}
	}
}

// A logic tier of a version that does not record owners can still publish.
func TestExchangeWithoutOwnerAcceptsMessages(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.as("queue").ExecContext(t.Context(), `insert into queue.exchange (name, type) values ('e', 'topic')`); err != nil {
		t.Fatal(err)
	}
	if _, err := p.as("talks").ExecContext(t.Context(), `select queue.publish('e', 'key', 'type', '', '')`); err != nil {
		t.Error(err)
	}
}

func TestEveryModuleHasFolderAndRole(t *testing.T) {
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
		t.Errorf("got folders %v, want %v", folders, modules)
	}
	p := start(t, dataFolder(t), certificates)
	got := column(t, p.superuser(), `
		select rolname from pg_roles
		where rolcanlogin and not rolsuper and not rolcreaterole and not rolcreatedb and not rolbypassrls and not rolreplication
		order by 1`)
	if !slices.Equal(got, modules) {
		t.Errorf("got roles %v, want %v", got, modules)
	}
	if passwords := column(t, p.superuser(), `select rolname from pg_authid where rolpassword is not null`); len(passwords) > 0 {
		t.Errorf("roles %v have passwords, want none", passwords)
	}
}

// handshakeRejection matches the error of a connection that the server closed because
// of the client's certificate. The server sends a TLS alert and closes; which of the
// two the client reads first is a race, and either proves the rejection.
func handshakeRejection(alert string) string {
	return alert + "|connection reset by peer|broken pipe|EOF"
}

func TestConnectionRequiresCertificateOfLogicTier(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	if _, err := p.connect("talks"); err != nil {
		t.Fatalf("the logic tier cannot connect: %v", err)
	}
	pair := func(directory, name string) string {
		return "sslcert=" + directory + "/" + name + ".crt sslkey=" + directory + "/" + name + ".key"
	}
	for name, c := range map[string]struct{ role, options, want string }{
		"without TLS":                             {"talks", "sslmode=disable", "rejects connection"},
		"without a certificate":                   {"talks", "sslcert='' sslkey=''", handshakeRejection("certificate")},
		"with the web tier's certificate":         {"talks", pair(certificates, "web-tier"), "certificate authentication failed"},
		"with the operator's certificate":         {"talks", pair(certificates, "operator"), "certificate authentication failed"},
		"with a certificate of another authority": {"talks", pair(foreign, "logic-tier"), handshakeRejection("unknown certificate authority")},
		"as the superuser":                        {"postgres", "", "rejects connection"},
		"as the owner":                            {"owner", "", "rejects connection"},
		"to another database":                     {"talks", "dbname=postgres", "rejects connection"},
		"to a server of another authority":        {"talks", "sslrootcert=" + foreign + "/ca.crt", "unknown authority"},
		"as an unknown role":                      {"unknown", "", "rejects connection"},
		"to a host that the certificate lacks":    {"talks", "host=127.0.0.2", "127.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.connect(c.role, c.options)
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("got %v, want a match of %q", err, c.want)
			}
		})
	}
}

// serverCertificate returns the serial number of the certificate that the server
// presents after an SSLRequest (PostgreSQL manual, 55.2.10).
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
		t.Fatalf("got answer %q to an SSLRequest, %v, want S", answer, err)
	}
	client := tls.Client(connection, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // read the certificate, valid or not
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
