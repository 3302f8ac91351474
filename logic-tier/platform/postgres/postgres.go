// Package postgres connects the logic tier's modules to the data tier. Each module has a
// bounded connection pool that logs in as the module's own role with a client certificate.
// Statements are prepared once per connection, query time is counted per request, and errors
// say whether a retry can help.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// connectTimeout is the default of Options.ConnectTimeout: longer than a TLS handshake on
// busy processors, and shorter than a page's budget.
const connectTimeout = 2 * time.Second

// connectionLifetime bounds the age of connections, so that within it all of them use a
// database that moved, or a certificate that was replaced.
const connectionLifetime = 30 * time.Minute

// Options configures a connection pool or a listening connection.
type Options struct {
	// Address is the data tier's host:port, or those of a primary and its standbys,
	// separated by commas; the one that accepts writes is used.
	Address string
	// Certificates is the directory with ca.crt, logic-tier.crt, logic-tier.key.
	Certificates string
	// Database is the database's name; "techtalks" when empty.
	Database string
	// Role is the database role, which is also its schema's name.
	Role string
	// MaxConnections bounds the pool. When all connections are in use, a query waits
	// for one until its deadline.
	MaxConnections int
	// ConnectTimeout bounds the opening of a connection, in whole seconds; 0 means 2 s.
	ConnectTimeout time.Duration
	// BinaryParameters sends []byte arguments as binary instead of hexadecimal, which is
	// twice as long. It suits a role that stores files.
	BinaryParameters bool
}

// Source returns lib/pq's data source name.
func (o Options) Source() (string, error) {
	var hosts, ports []string
	for address := range strings.SplitSeq(o.Address, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(address))
		if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || number == 0 {
			return "", fmt.Errorf("invalid data address %q: use host:port, or several separated by commas", o.Address)
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	var b strings.Builder
	for _, setting := range [][2]string{
		{"host", strings.Join(hosts, ",")}, {"port", strings.Join(ports, ",")},
		// Excludes standbys and read-only primaries.
		{"target_session_attrs", "read-write"},
		{"dbname", cmp.Or(o.Database, "techtalks")}, {"user", o.Role},
		{"application_name", "logic-tier/" + o.Role},
		{"connect_timeout", fmt.Sprint(int(cmp.Or(o.ConnectTimeout, connectTimeout).Seconds()))},
		{"sslmode", "verify-full"},
		{"sslrootcert", filepath.Join(o.Certificates, "ca.crt")},
		{"sslcert", filepath.Join(o.Certificates, "logic-tier.crt")},
		{"sslkey", filepath.Join(o.Certificates, "logic-tier.key")},
		{"binary_parameters", map[bool]string{true: "yes", false: "no"}[o.BinaryParameters]},
	} {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(setting[1])
		fmt.Fprintf(&b, "%s='%s' ", setting[0], value)
	}
	return strings.TrimSpace(b.String()), nil
}

// DB is a module's connection pool. It is safe for concurrent use.
type DB struct {
	pool *sql.DB
	role string

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

// Open returns a pool. It does not connect, since the data tier may still be starting.
func Open(o Options) (*DB, error) {
	source, err := o.Source()
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnector(source)
	if err != nil {
		return nil, fmt.Errorf("open database as role %s: %w", o.Role, err)
	}
	connector.Dialer(newDialer())
	pool := sql.OpenDB(newBreaker(connector))
	pool.SetMaxOpenConns(o.MaxConnections)
	// All idle connections are kept, with their prepared statements. Reopening one
	// would cost a handshake, and preparing each statement again.
	pool.SetMaxIdleConns(o.MaxConnections)
	pool.SetConnMaxLifetime(connectionLifetime)
	return &DB{pool: pool, role: o.Role, prepared: map[string]*sql.Stmt{}}, nil
}

const serverNameStatement = `
select current_setting('cluster_name')`

// ServerName returns the data tier's host name, which it publishes in cluster_name. The
// query is the cheapest check that the data tier works.
func (db *DB) ServerName(ctx context.Context) (string, error) {
	name, _, err := One(ctx, db, Value[string], serverNameStatement)
	return name, err
}

// SchemaVersion returns the version of the role's schema: that of its latest migration.
func (db *DB) SchemaVersion(ctx context.Context) (int64, error) {
	version, _, err := One(ctx, db, Value[int64], `
select coalesce(max(version_id), 0)
from   migrations.`+pq.QuoteIdentifier(db.role))
	return version, err
}

// Pool returns the underlying pool, for its statistics.
func (db *DB) Pool() *sql.DB { return db.pool }

// Close closes the pool, after queries in progress have finished.
func (db *DB) Close() error { return db.pool.Close() }

// statement returns text as a prepared statement. Texts are constants, which bounds the map.
func (db *DB) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	db.mu.Lock()
	stmt := db.prepared[text]
	db.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	// The lock is not held here: while the data tier does not answer, every caller
	// would wait beyond its deadline.
	stmt, err := db.pool.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if first := db.prepared[text]; first != nil {
		_ = stmt.Close()
		return first, nil
	}
	db.prepared[text] = stmt
	return stmt, nil
}
