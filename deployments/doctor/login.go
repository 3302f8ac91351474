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

// checkLogin logs in as a role and checks its privileges and its schema's version.
func (h *dataHost) checkLogin(role string) check {
	return withDeadline(h.deadline, h.address.String()+", role "+role, func(ctx context.Context) finding {
		return h.query(ctx, role, func(ctx context.Context, conn *sql.Conn) finding {
			var tables int
			var readable string
			if err := conn.QueryRowContext(ctx, readableStatement, pq.Array(transport.Modules)).Scan(&tables, &readable); err != nil {
				return h.queryFailure(err)
			}
			if readable != "" {
				return finding{Verdict: verdictWrong, Found: "it can read tables of other roles: " + readable,
					Fix: fmt.Sprintf("on %s, as superuser: revoke all on these tables from %s; then find where it was granted: no migration grants it", h.address.host, role)}
			}
			found := fmt.Sprintf("logged in by certificate; can read none of the %d tables of other roles", tables)
			if role == replicator {
				return finding{Verdict: verdictOK, Found: found}
			}
			return h.checkVersion(ctx, conn, role, found)
		})
	})
}

// checkVersion checks the version of the role's schema, which goose stores in a table per module.
func (h *dataHost) checkVersion(ctx context.Context, conn *sql.Conn, module, found string) finding {
	var version int64
	err := conn.QueryRowContext(ctx, `select coalesce(max(version_id), 0) from migrations.`+pq.QuoteIdentifier(module)+` where is_applied`).Scan(&version)
	var pqErr *pq.Error
	switch {
	case errors.As(err, &pqErr) && pqErr.Code == "42501": // insufficient_privilege
		return finding{Verdict: verdictNote, Found: found + "; no permission to read its schema's version, which a newer data tier grants"}
	case err != nil:
		return h.queryFailure(err)
	}
	h.update(func() { h.versions[module] = version })
	found += fmt.Sprintf("; schema version %d", version)
	switch newest := newestVersions[module]; {
	case version < newest:
		return finding{Verdict: verdictWrong, Found: fmt.Sprintf("%s; the newest is %d", found, newest),
			Fix: fmt.Sprintf("on %s, start the newer data tier, or run its \"data-tier migrate\"; the logic tier waits for it", h.address.host)}
	case version > newest:
		found += fmt.Sprintf(", newer than version %d of this doctor, which is compatible", newest)
	}
	return finding{Verdict: verdictOK, Found: found}
}
