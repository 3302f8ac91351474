package app

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"techtalks.example/logic-tier/platform/postgres"
)

// databases opens one connection pool per role. It keeps the first error in err, so that
// assemble can open pools inline.
type databases struct {
	settings settings
	registry prometheus.Registerer
	opened   map[string]*postgres.DB // by role
	err      error
}

func (d *databases) options(role string, connections int) postgres.Options {
	return postgres.Options{Address: d.settings.dataAddress, Certificates: d.settings.certificates, Role: role, MaxConnections: connections}
}

func (d *databases) open(role string, connections int) *postgres.DB {
	return d.openWith(d.options(role, connections))
}

// openBinary opens a pool with binary parameters, for a role that sends large values.
func (d *databases) openBinary(role string, connections int) *postgres.DB {
	o := d.options(role, connections)
	o.BinaryParameters = true
	return d.openWith(o)
}

func (d *databases) openWith(o postgres.Options) *postgres.DB {
	db, err := postgres.Open(o)
	if err != nil {
		if d.err == nil {
			d.err = fmt.Errorf("--data-address (DATA_ADDRESS): %w", err)
		}
		return nil
	}
	if d.opened == nil {
		d.opened = map[string]*postgres.DB{}
	}
	d.opened[o.Role] = db
	d.registry.MustRegister(collectors.NewDBStatsCollector(db.Pool(), o.Role))
	return db
}

func (d *databases) close() {
	for _, db := range d.opened {
		_ = db.Close()
	}
}
