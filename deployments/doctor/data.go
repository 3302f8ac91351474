package main

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lib/pq"

	"techtalks.example/proto/transport"
)

// replicator is the role with which a standby connects to its primary.
const replicator = "replicator"

// checkDataTier checks each host of the data tier, and their replication.
func (s settings) checkDataTier(creds credentials, addresses []address) check {
	return func(ctx context.Context) []finding {
		hosts := make([]*dataHost, len(addresses))
		var checks []check
		for i, a := range addresses {
			hosts[i] = &dataHost{settings: s, creds: creds, address: a, versions: map[string]int64{}}
			checks = append(checks, hosts[i].check)
		}
		return append(runParallel(ctx, checks...), checkReplication(hosts)...)
	}
}

// dataHost is a host of the data tier, and its state.
type dataHost struct {
	settings
	creds   credentials
	address address

	mu       sync.Mutex
	known    bool // state is valid
	state    state
	versions map[string]int64 // by module
}

// state is the replication state of a Postgres server.
type state struct {
	standby     bool
	writable    bool
	walPosition int64 // in bytes
	receiving   bool  // a standby that receives WAL
}

// roles returns the roles that this host logs in as. The first one runs the queries that any
// role could run.
func (h *dataHost) roles() []string {
	if h.from == "data" {
		return []string{replicator}
	}
	return transport.Modules
}

// check checks the name, port, certificate, authentication, logins and state of the host.
func (h *dataHost) check(ctx context.Context) []finding {
	address := h.address.String()
	ips, found := h.resolve(ctx, h.address.host)
	if len(ips) == 0 {
		return found
	}
	port := withDeadline(h.deadline, address, func(ctx context.Context) finding { return checkOpen(ctx, address, h.address.host) })(ctx)
	found = append(found, port...)
	if !allOK(port) {
		return found
	}
	found = append(found, runParallel(ctx,
		h.checkServerCertificate(postgresProtocol, h.creds, address, h.address.host, expectation{
			hosts: []string{h.address.host}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, fix: "for " + h.address.host + ", " + certificateFix(dataTier),
		}),
		h.checkClientAuth(postgresProtocol, address, h.address.host, dataTier),
		h.checkPlaintext(address),
	)...)
	if h.creds.pairErr != nil || h.creds.caErr != nil {
		return append(found, finding{verdictNote, address + ", logins", "not tried: no client certificate; see above", ""})
	}
	logins := []check{h.checkClock, h.checkRole}
	for _, role := range h.roles() {
		logins = append(logins, h.checkLogin(role))
	}
	return append(found, runParallel(ctx, logins...)...)
}

// connectionString returns a connection string like the tiers', but for this host only, whether
// it is the primary or a standby.
func (h *dataHost) connectionString(role string) string {
	var b strings.Builder
	for _, setting := range [][2]string{
		{"host", h.address.host}, {"port", h.address.port}, {"dbname", "techtalks"}, {"user", role},
		{"application_name", "doctor"}, {"sslmode", "verify-full"},
		{"sslrootcert", h.creds.path("ca.crt")},
		{"sslcert", filepath.Join(h.creds.directory, h.creds.program+".crt")},
		{"sslkey", filepath.Join(h.creds.directory, h.creds.program+".key")},
	} {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(setting[1])
		fmt.Fprintf(&b, "%s='%s' ", setting[0], value)
	}
	return b.String()
}

// query logs in to the host as a role and runs a function on the connection.
func (h *dataHost) query(ctx context.Context, role string, run func(ctx context.Context, conn *sql.Conn) finding) finding {
	db, err := sql.Open("postgres", h.connectionString(role))
	if err != nil {
		return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "use host:port in DATA_ADDRESS"}
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return finding{Verdict: verdictWrong, Found: "login failed: " + err.Error(), Fix: h.loginFix(role, err)}
	}
	defer conn.Close()
	return run(ctx, conn)
}

// loginFix returns how to fix a failed login.
func (h *dataHost) loginFix(role string, err error) string {
	var pqErr *pq.Error
	host := h.address.host
	switch {
	case errors.As(err, &pqErr) && (pqErr.Code == "28000" || pqErr.Code == "28P01" || pqErr.Code == "3D000"):
		return fmt.Sprintf("on %s, run \"data-tier migrate\", which creates the roles and the database; check that pg_hba.conf and pg_ident.conf are those of data-tier and map %s to %s", host, h.creds.program, role)
	case errors.As(err, &pqErr) && pqErr.Code.Class() == "53":
		return fmt.Sprintf("on %s, find the clients that hold the connections (pg_stat_activity): each logic tier and worker uses up to 103 of max_connections", host)
	case errors.As(err, &pqErr) && pqErr.Code.Class() == "57":
		return "wait until it has started; see its log"
	}
	return "fix certificates marked above first; otherwise see the log of the data tier on " + host
}

// queryFailure returns the finding for a failed query.
func (h *dataHost) queryFailure(err error) finding {
	return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "see the log of the data tier on " + h.address.host}
}

// update changes the state under the lock: checks run concurrently, also after their deadline.
func (h *dataHost) update(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}
