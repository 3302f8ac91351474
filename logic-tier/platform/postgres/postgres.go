// Package postgres is how the modules of the logic tier talk to the data tier:
// a bounded pool a module, logged in as the module's own role by client
// certificate; statements prepared once a connection; time spent is counted
// for the request that spent it; errors say whether trying again makes sense.
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
// loaded cores, shorter than a page's budget.
const connectTimeout = 2 * time.Second

// connectionLifetime replaces connections, so that after a move of the database
// or a change of certificates the old ones are gone within it.
const connectionLifetime = 30 * time.Minute

// Options says where the data tier is and who logs in.
type Options struct {
	// Address is the data tier's host:port, or those of a primary and its standbys,
	// separated by commas: whichever takes writes is connected to.
	Address string
	// Certificates is the directory with ca.crt, logic-tier.crt, logic-tier.key.
	Certificates string
	// Database is the database's name; "techtalks" when empty.
	Database string
	// Role is the database role, which is also its schema's name.
	Role string
	// MaxConnections bounds the pool. A query that finds all of them busy waits
	// until its deadline.
	MaxConnections int
	// ConnectTimeout bounds the opening of a connection, in whole seconds; 0 means 2 s.
	ConnectTimeout time.Duration
	// BinaryParameters sends []byte arguments as they are and not in hexadecimal,
	// twice as long: for a role that keeps files.
	BinaryParameters bool
}

// Source returns the data source name that lib/pq understands.
func (o Options) Source() (string, error) {
	var hosts, ports []string
	for address := range strings.SplitSeq(o.Address, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(address))
		if number, notOne := strconv.ParseUint(port, 10, 16); err != nil || host == "" || notOne != nil || number == 0 {
			return "", fmt.Errorf("data address %q: use host:port, or several separated by commas", o.Address)
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	var b strings.Builder
	for _, setting := range [][2]string{
		{"host", strings.Join(hosts, ",")}, {"port", strings.Join(ports, ",")},
		// Not a standby, and not a primary that may only be read.
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

// DB is a module's pool of connections. Safe for concurrent use.
type DB struct {
	pool *sql.DB
	role string

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

// Open returns a pool. It makes no connection: the data tier may still be
// starting; Ping says when it is there.
func Open(o Options) (*DB, error) {
	source, err := o.Source()
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnector(source)
	if err != nil {
		return nil, fmt.Errorf("open database as %s: %w", o.Role, err)
	}
	connector.Dialer(newDialer())
	pool := sql.OpenDB(newBreaker(connector))
	pool.SetMaxOpenConns(o.MaxConnections)
	// Idle connections keep their prepared statements: closing them to open
	// them again would cost a handshake and a parse each time.
	pool.SetMaxIdleConns(o.MaxConnections)
	pool.SetConnMaxLifetime(connectionLifetime)
	return &DB{pool: pool, role: o.Role, prepared: map[string]*sql.Stmt{}}, nil
}

const serverNameStatement = `
select current_setting('cluster_name')`

// ServerName asks the data tier for its host's name, which it keeps in
// cluster_name: the shortest question that a working data tier can answer.
func (db *DB) ServerName(ctx context.Context) (string, error) {
	name, _, err := One(ctx, db, Value[string], serverNameStatement)
	return name, err
}

// SchemaVersion returns which version the role's schema has: the newest migration that
// was made.
func (db *DB) SchemaVersion(ctx context.Context) (int64, error) {
	version, _, err := One(ctx, db, Value[int64], `
select coalesce(max(version_id), 0)
from   migrations.`+pq.QuoteIdentifier(db.role))
	return version, err
}

// Pool returns the pool itself, for its statistics.
func (db *DB) Pool() *sql.DB { return db.pool }

// Close closes the pool; queries under way end first.
func (db *DB) Close() error { return db.pool.Close() }

// statement returns text prepared. Texts are constants of the stores, so the
// map is bounded by the program's own text.
func (db *DB) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	db.mu.Lock()
	stmt := db.prepared[text]
	db.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	// Not under the lock: a data tier that does not answer would make every
	// caller wait beyond its own deadline.
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
