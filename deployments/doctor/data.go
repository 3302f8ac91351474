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

// replicator is the role of a data tier on another.
const replicator = "replicator"

// data looks at every host of the data tier, and at how they fit together.
func (s settings) data(own credentials, addresses []address) check {
	return func(ctx context.Context) []finding {
		hosts := make([]*dataHost, len(addresses))
		var all []check
		for i, a := range addresses {
			hosts[i] = &dataHost{settings: s, own: own, address: a, versions: map[string]int64{}}
			all = append(all, hosts[i].look)
		}
		return append(sideBySide(ctx, all...), together(hosts)...)
	}
}

// dataHost is a host of the data tier, and what it said.
type dataHost struct {
	settings
	own     credentials
	address address

	mu       sync.Mutex
	answered bool // what follows is known
	state    state
	versions map[string]int64 // by module
}

// state is what a Postgres says of itself.
type state struct {
	standby bool
	writes  bool  // it takes them
	at      int64 // position in the WAL, in bytes
	follows bool  // a standby that receives WAL
}

// roles are those that this host logs in as. The first is asked what they all could be.
func (h *dataHost) roles() []string {
	if h.from == "data" {
		return []string{replicator}
	}
	return transport.Modules
}

func (h *dataHost) look(ctx context.Context) []finding {
	at := h.address.String()
	ips, found := h.resolve(ctx, h.address.host)
	if len(ips) == 0 {
		return found
	}
	reached := within(h.deadline, at, func(ctx context.Context) finding { return open(ctx, at, h.address.host) })(ctx)
	found = append(found, reached...)
	if !well(reached) {
		return found
	}
	found = append(found, sideBySide(ctx,
		h.presented(postgresWire, h.own, at, h.address.host, expected{
			hosts: []string{h.address.host}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, remedy: "for " + h.address.host + ", " + remedy(dataTier),
		}),
		h.demands(postgresWire, at, h.address.host, dataTier),
		h.withoutTLS(at),
	)...)
	if h.own.pairErr != nil || h.own.caErr != nil {
		return append(found, finding{noted, at + ", logins", "not tried: there is no certificate to show; see above", ""})
	}
	logins := []check{h.clock, h.ask}
	for _, role := range h.roles() {
		logins = append(logins, h.login(role))
	}
	return append(found, sideBySide(ctx, logins...)...)
}

// source is a connection string as the tiers use it, but to one host, whatever it is.
func (h *dataHost) source(role string) string {
	var b strings.Builder
	for _, setting := range [][2]string{
		{"host", h.address.host}, {"port", h.address.port}, {"dbname", "techtalks"}, {"user", role},
		{"application_name", "doctor"}, {"sslmode", "verify-full"},
		{"sslrootcert", h.own.path("ca.crt")},
		{"sslcert", filepath.Join(h.own.directory, h.own.program+".crt")},
		{"sslkey", filepath.Join(h.own.directory, h.own.program+".key")},
	} {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(setting[1])
		fmt.Fprintf(&b, "%s='%s' ", setting[0], value)
	}
	return b.String()
}

// as has one connection to the host as a role.
func (h *dataHost) as(ctx context.Context, role string, ask func(ctx context.Context, conn *sql.Conn) finding) finding {
	db, err := sql.Open("postgres", h.source(role))
	if err != nil {
		return finding{Verdict: wrong, Found: err.Error(), Fix: "use host:port in DATA_ADDRESS"}
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return finding{Verdict: wrong, Found: "it is not let in: " + err.Error(), Fix: h.loginFix(role, err)}
	}
	defer conn.Close()
	return ask(ctx, conn)
}

func (h *dataHost) loginFix(role string, err error) string {
	var said *pq.Error
	host := h.address.host
	switch {
	case errors.As(err, &said) && (said.Code == "28000" || said.Code == "28P01" || said.Code == "3D000"):
		return fmt.Sprintf("on %s, run \"data-tier migrate\", which makes roles and database; and see that pg_hba.conf and pg_ident.conf there are those of data-tier and let %s be %s", host, h.own.program, role)
	case errors.As(err, &said) && said.Code.Class() == "53":
		return fmt.Sprintf("on %s, see who has all the connections (pg_stat_activity): each logic tier and worker takes up to 103 of max_connections", host)
	case errors.As(err, &said) && said.Code.Class() == "57":
		return "wait until it has started; its log says what it does"
	}
	return "if a certificate is wrong above, mend that first; else see the log of the data tier on " + host
}

// asking is what a query that fails is answered with.
func (h *dataHost) asking(err error) finding {
	return finding{Verdict: wrong, Found: err.Error(), Fix: "see the log of the data tier on " + h.address.host}
}

// keep keeps what a look learned: others look meanwhile, and one that ends too late is
// not waited for.
func (h *dataHost) keep(learned func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	learned()
}
