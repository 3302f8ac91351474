// Package postgrestest runs the real data tier for tests: its program, built from its own
// folder, with TLS, roles and migrations. The tests of a package share one data tier, and
// each test gets a database of its own, cloned from a migrated template. Tests with
// their own databases can call t.Parallel.
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"techtalks.example/logic-tier/platform/postgres"
)

// connections bounds a test's pool for each role: enough that concurrent calls are
// concurrent in the database too.
const connections = 12

// patience bounds the opening of a connection, which on a busy machine takes longer than
// the modules wait in production.
const patience = time.Minute

// setUpTimeout bounds a statement that creates or drops a database.
const setUpTimeout = 30 * time.Second

var shared struct {
	once sync.Once
	tier *tier
	err  error
}

// clones counts the databases that were cloned, for their names.
var clones atomic.Int64

// Main runs a package's tests and stops the data tier that they started.
func Main(m *testing.M) {
	code := m.Run()
	if shared.tier != nil {
		if err := shared.tier.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Database is a database for one test.
type Database struct {
	t    testing.TB
	tier *tier
	name string

	superuser func() *sql.DB
}

// New returns a new database in the state after all migrations. The first call in a test
// program starts the data tier.
func New(t testing.TB) *Database {
	t.Helper()
	return clone(t, fmt.Sprintf("test_%d", clones.Add(1)))
}

// NewInstalled is New with the database's name in production, which whole programs
// connect to. Tests that use it cannot run in parallel.
func NewInstalled(t testing.TB) *Database {
	t.Helper()
	return clone(t, installed)
}

// clone copies the template under a name and drops the copy when the test ends.
func clone(t testing.TB, name string) *Database {
	t.Helper()
	shared.once.Do(func() { shared.tier, shared.err = start() })
	if shared.err != nil {
		t.Fatalf("the data tier does not start: %v", shared.err)
	}
	d := &Database{t: t, tier: shared.tier, name: name}
	d.superuser = sync.OnceValue(func() *sql.DB {
		db := shared.tier.superuser(t, name)
		db.SetMaxOpenConns(connections)
		t.Cleanup(func() { _ = db.Close() })
		return db
	})
	if err := d.administer(`create database ` + name + ` template ` + template + ` strategy file_copy owner owner`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // runs last: the test's pools are closed by then
		if err := d.administer(`drop database ` + name + ` with (force)`); err != nil {
			t.Error(err)
		}
	})
	return d
}

// administer executes a statement about whole databases.
func (d *Database) administer(statement string) error {
	admin := d.tier.superuser(d.t, "postgres")
	defer admin.Close()
	ctx, done := context.WithTimeout(context.Background(), setUpTimeout)
	defer done()
	if _, err := admin.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Options returns how to log in as a role.
func (d *Database) Options(role string) postgres.Options {
	return postgres.Options{Address: d.tier.address, Database: d.name, Certificates: d.tier.certificates, Role: role, MaxConnections: connections,
		ConnectTimeout: patience}
}

// Open returns a pool of a module's role, closed when the test ends.
func (d *Database) Open(role string) *postgres.DB {
	d.t.Helper()
	db, err := postgres.Open(d.Options(role))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = db.Close() })
	return db
}

// Superuser returns the test's pool with all rights, for rows that a test inspects or ages
// without the module's knowledge.
func (d *Database) Superuser() *sql.DB { return d.superuser() }
