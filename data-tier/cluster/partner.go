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
	// partnerTime is how long a primary waits for its partner's answer before it
	// serves without: long enough for one that restarts on the same signal.
	partnerTime = 5 * time.Second
	// askTime bounds one question.
	askTime = 3 * time.Second
	// againAfter is the pause between two questions to one that does not answer.
	againAfter = 500 * time.Millisecond
)

// partner is what the Postgres of another data tier says of itself.
type partner struct {
	system   string
	timeline int
	standby  bool
	major    int
}

// replicatorSource returns the connection string by which this host's programs
// and Postgres itself reach another data tier. certificates is a folder as
// copyCertificates makes it. libpq takes a key only when it belongs to the user
// that runs it and nobody else may read it.
func replicatorSource(address, certificates string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address of another data tier %q: use host:port: %w", address, err)
	}
	quote := func(value string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	in := func(name string) string { return quote(filepath.Join(certificates, name)) }
	return fmt.Sprintf("host=%s port=%s user=replicator connect_timeout=5 sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
		quote(host), quote(port), in("ca.crt"), in("server.crt"), in("server.key")), nil
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

// The timeline of a primary is that of the WAL it writes: its control file has
// the new one only after the first checkpoint since the promotion.
const partnerStatement = `
select (select system_identifier::text from pg_control_system()),
       case when pg_is_in_recovery()
            then greatest((select timeline_id from pg_control_checkpoint()), (select min_recovery_end_timeline from pg_control_recovery()))
            else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
       end,
       pg_is_in_recovery(),
       current_setting('server_version_num')::int / 10000`

// askPartner asks once.
func askPartner(ctx context.Context, address, certificates string) (partner, error) {
	var p partner
	db, err := connectPartner(address, certificates)
	if err != nil {
		return p, err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, askTime)
	defer done()
	err = db.QueryRowContext(ctx, partnerStatement).Scan(&p.system, &p.timeline, &p.standby, &p.major)
	return p, err
}

// awaitPartner asks until there is an answer, for patience at most.
func awaitPartner(ctx context.Context, address, certificates string, patience time.Duration) (partner, error) {
	limited, done := context.WithTimeout(ctx, patience)
	defer done()
	for {
		p, err := askPartner(limited, address, certificates)
		if err == nil {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case <-limited.Done():
			return p, err
		case <-time.After(againAfter):
		}
	}
}

// behind says whether a primary may not serve beside its partner: nil, or why.
// Two primaries of one system would take writes that nobody can bring together.
func (s control) behind(p partner, address string) error {
	switch {
	case p.system != s.system:
		return fmt.Errorf("the data tier at %s holds another database (system %s, here %s): name the right one with --partner (PARTNER) or --standby-of (STANDBY_OF)",
			address, p.system, s.system)
	case p.timeline > s.timeline:
		return fmt.Errorf("%s was promoted (timeline %d); this one is behind (timeline %d): start it with --standby-of %s (STANDBY_OF), and it rejoins",
			address, p.timeline, s.timeline, address)
	case p.timeline == s.timeline && !p.standby:
		return fmt.Errorf("%s is a primary on the same timeline (%d): only one may serve; remove the data directory of the one that is to be the standby, and start that with --standby-of (STANDBY_OF)",
			address, p.timeline)
	}
	return nil
}
