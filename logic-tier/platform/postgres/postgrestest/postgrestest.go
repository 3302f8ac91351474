// Package postgrestest runs the real data tier for tests, built from source, with TLS, roles
// and migrations. The tests of a package share one data tier. Each test gets its own
// database, cloned from a migrated template, so tests can call t.Parallel.
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

// maxConnections bounds a test's pool per role. It is large enough for concurrent calls to
// run concurrently in the database.
const maxConnections = 12

// connectTimeout bounds the opening of a connection. On a busy machine that can take longer
// than the production timeout.
const connectTimeout = time.Minute

// setUpTimeout bounds a statement that creates or drops a database.
const setUpTimeout = 30 * time.Second

var shared struct {
	once sync.Once
	tier *tier
	err  error
}

// clones numbers the cloned databases.
var clones atomic.Int64

// Main runs a package's tests, stops the data tier if they started it, and exits.
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

// New returns a new, fully migrated database. The first call in a test program starts the
// data tier.
func New(t testing.TB) *Database {
	t.Helper()
	return clone(t, fmt.Sprintf("test_%d", clones.Add(1)))
}

// NewInstalled is like New, but the database has its production name, to which programs
// connect. Tests that use it cannot run in parallel.
func NewInstalled(t testing.TB) *Database {
	t.Helper()
	return clone(t, installed)
}

// clone creates a database from the template, and drops it when the test ends.
func clone(t testing.TB, name string) *Database {
	t.Helper()
	shared.once.Do(func() { shared.tier, shared.err = start() })
	if shared.err != nil {
		t.Fatalf("start data tier: %v", shared.err)
	}
	d := &Database{t: t, tier: shared.tier, name: name}
	d.superuser = sync.OnceValue(func() *sql.DB {
		db := shared.tier.superuser(t, name)
		db.SetMaxOpenConns(maxConnections)
		t.Cleanup(func() { _ = db.Close() })
		return db
	})
	if err := d.administer(`create database ` + name + ` template ` + template + ` strategy file_copy owner owner`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // runs last, after the test's pools are closed
		if err := d.administer(`drop database ` + name + ` with (force)`); err != nil {
			t.Error(err)
		}
	})
	return d
}

// administer executes a statement that creates or drops a database.
func (d *Database) administer(statement string) error {
	admin := d.tier.superuser(d.t, "postgres")
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	if _, err := admin.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Options returns the options to connect as a role.
func (d *Database) Options(role string) postgres.Options {
	return postgres.Options{Address: d.tier.address, Database: d.name, Certificates: d.tier.certificates, Role: role, MaxConnections: maxConnections,
		ConnectTimeout: connectTimeout}
}

// Open returns a pool for a role, which is closed when the test ends.
func (d *Database) Open(role string) *postgres.DB {
	d.t.Helper()
	db, err := postgres.Open(d.Options(role))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = db.Close() })
	return db
}

// Superuser returns a pool with all privileges, to inspect and manipulate rows behind the
// module's back.
func (d *Database) Superuser() *sql.DB { return d.superuser() }
