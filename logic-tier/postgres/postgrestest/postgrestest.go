// Package postgrestest gives tests the real data tier: its program, built from
// its own folder and run as people run it, with TLS, roles and migrations. A
// package's tests share one; each of them gets the database as new.
//
//	func TestMain(m *testing.M) { postgrestest.Main(m) }
package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"techtalks.example/logic-tier/postgres"
)

// connections is what a test's pool may have: enough that calls side by side
// are side by side in the database too.
const connections = 12

// setUpTimeout bounds what is done to the database before a test.
const setUpTimeout = 30 * time.Second

var shared struct {
	once sync.Once
	tier *tier
	err  error
}

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

// Database is the data tier's database, for one test.
type Database struct {
	t    testing.TB
	tier *tier
}

// New makes the database as its migrations leave it. The first call of a test
// program starts the data tier. Tests that use it do not run side by side.
func New(t testing.TB) *Database {
	t.Helper()
	shared.once.Do(func() { shared.tier, shared.err = start() })
	if shared.err != nil {
		t.Fatalf("the data tier does not start: %v", shared.err)
	}
	d := &Database{t: t, tier: shared.tier}
	d.renew()
	return d
}

// renew copies the template over the database.
func (d *Database) renew() {
	d.t.Helper()
	admin := d.tier.superuser(d.t, "postgres")
	defer admin.Close()
	ctx, done := context.WithTimeout(context.Background(), setUpTimeout)
	defer done()
	for _, statement := range []string{
		`drop database if exists techtalks with (force)`,
		`create database techtalks template ` + template + ` owner owner`,
	} {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			d.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Options says how to log in as a role.
func (d *Database) Options(role string) postgres.Options {
	return postgres.Options{Address: d.tier.address, Certificates: d.tier.certificates, Role: role, MaxConnections: connections}
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

// Superuser returns a pool that may see and change everything: for what a test
// must look at, or age, behind a module's back.
func (d *Database) Superuser() *sql.DB {
	d.t.Helper()
	db := d.tier.superuser(d.t, "techtalks")
	d.t.Cleanup(func() { _ = db.Close() })
	return db
}
