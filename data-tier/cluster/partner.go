package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

const (
	// partnerTimeout is how long a primary waits for its partner before it serves
	// without an answer: long enough for a partner that is restarting at the same time.
	partnerTimeout = 5 * time.Second
	// queryTimeout bounds one query.
	queryTimeout = 3 * time.Second
	// partnerRetryDelay is the pause before querying an unresponsive partner again.
	partnerRetryDelay = 500 * time.Millisecond
)

// partnerState is the state of the Postgres of another data tier.
type partnerState struct {
	system   string
	timeline int
	standby  bool
	major    int
}

// replicatorSource returns the connection string with which this host's programs
// and Postgres itself connect to another data tier. certificates is a folder
// filled by copyCertificates: libpq rejects a key that does not belong to the
// running user or that other users can read.
func replicatorSource(address, certificates string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address of another data tier %q: use host:port: %w", address, err)
	}
	quote := func(value string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	file := func(name string) string { return quote(filepath.Join(certificates, name)) }
	return fmt.Sprintf("host=%s port=%s user=replicator connect_timeout=5 sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
		quote(host), quote(port), file("ca.crt"), file("server.crt"), file("server.key")), nil
}

// connectPartner opens a connection to another data tier as replicator. The
// caller closes it.
func connectPartner(address, certificates string) (*sql.DB, error) {
	source, err := replicatorSource(address, certificates)
	if err != nil {
		return nil, err
	}
	return sql.Open("postgres", source+" dbname=techtalks application_name=data-tier statement_timeout=0")
}

// partnerStatement reads the timeline of a primary from the WAL that it writes:
// its control file has the new timeline only after the first checkpoint since the
// promotion.
const partnerStatement = `
select (select system_identifier::text from pg_control_system()),
       case when pg_is_in_recovery()
            then greatest((select timeline_id from pg_control_checkpoint()), (select min_recovery_end_timeline from pg_control_recovery()))
            else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
       end,
       pg_is_in_recovery(),
       current_setting('server_version_num')::int / 10000`

// queryPartner reads the partner's state, without retries.
func queryPartner(ctx context.Context, address, certificates string) (partnerState, error) {
	var p partnerState
	db, err := connectPartner(address, certificates)
	if err != nil {
		return p, err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, queryTimeout)
	defer done()
	err = db.QueryRowContext(ctx, partnerStatement).Scan(&p.system, &p.timeline, &p.standby, &p.major)
	return p, err
}

// awaitPartner queries the partner until it answers, for at most timeout.
func awaitPartner(ctx context.Context, address, certificates string, timeout time.Duration) (partnerState, error) {
	limited, done := context.WithTimeout(ctx, timeout)
	defer done()
	for {
		p, err := queryPartner(limited, address, certificates)
		if err == nil {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case <-limited.Done():
			return p, err
		case <-time.After(partnerRetryDelay):
		}
	}
}

// checkPartner returns why a primary must not serve beside its partner, or nil.
// Two primaries of one system would accept writes that cannot be merged.
func (s control) checkPartner(p partnerState, address string) error {
	switch {
	case p.system != s.system:
		return fmt.Errorf("the data tier at %s holds another database (system %s, here %s): correct --partner (PARTNER) or --standby-of (STANDBY_OF)",
			address, p.system, s.system)
	case p.timeline > s.timeline:
		return fmt.Errorf("%s was promoted (timeline %d) and this server is behind (timeline %d): start it with --standby-of %s (STANDBY_OF), and it rejoins",
			address, p.timeline, s.timeline, address)
	case p.timeline == s.timeline && !p.standby:
		return fmt.Errorf("%s is a primary on the same timeline (%d), and only one can serve: remove the data directory of the intended standby, and start that with --standby-of (STANDBY_OF)",
			address, p.timeline)
	}
	return nil
}
