package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"techtalks.example/proto/transport"
)

const readableStatement = `
select count(*),
       coalesce(string_agg(format('%I.%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)
                filter (where has_schema_privilege(n.oid, 'usage') and has_any_column_privilege(c.oid, 'select')), '')
from   pg_class c
join   pg_namespace n on n.oid = c.relnamespace
where  n.nspname = any($1) and n.nspname <> current_user and c.relkind in ('r', 'p', 'v', 'm')`

// login logs in as a role, and sees what it may read.
func (h *dataHost) login(role string) check {
	return within(h.deadline, h.address.String()+", role "+role, func(ctx context.Context) finding {
		return h.as(ctx, role, func(ctx context.Context, conn *sql.Conn) finding {
			var tables int
			var readable string
			if err := conn.QueryRowContext(ctx, readableStatement, pq.Array(transport.Modules)).Scan(&tables, &readable); err != nil {
				return h.asking(err)
			}
			if readable != "" {
				return finding{Verdict: wrong, Found: "it may read what is not its own: " + readable,
					Fix: fmt.Sprintf("on %s, as superuser: revoke all on these tables from %s; then see who granted it, since no migration does", h.address.host, role)}
			}
			found := fmt.Sprintf("logged in by certificate; reads none of the %d tables of others", tables)
			if role == replicator {
				return finding{Verdict: fine, Found: found}
			}
			return h.version(ctx, conn, role, found)
		})
	})
}

// version asks which version the role's schema has: goose keeps them in a table a module.
func (h *dataHost) version(ctx context.Context, conn *sql.Conn, module, found string) finding {
	var version int64
	err := conn.QueryRowContext(ctx, `select coalesce(max(version_id), 0) from migrations.`+pq.QuoteIdentifier(module)+` where is_applied`).Scan(&version)
	var said *pq.Error
	switch {
	case errors.As(err, &said) && said.Code == "42501": // insufficient_privilege
		return finding{Verdict: noted, Found: found + "; it may not ask for its schema's version: a newer data tier lets it"}
	case err != nil:
		return h.asking(err)
	}
	h.keep(func() { h.versions[module] = version })
	found += fmt.Sprintf("; its schema has version %d", version)
	switch known := newest[module]; {
	case version < known:
		return finding{Verdict: wrong, Found: fmt.Sprintf("%s, and there is a version %d", found, known),
			Fix: fmt.Sprintf("on %s, start the newer data tier, or run its \"data-tier migrate\"; the logic tier waits for it", h.address.host)}
	case version > known:
		found += fmt.Sprintf(", newer than the %d that this doctor knows, which does no harm", known)
	}
	return finding{Verdict: fine, Found: found}
}
