package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// epochTimeout bounds setting a new epoch.
const epochTimeout = 30 * time.Second

// newEpochStatement sets the epoch of every module that has one, in a table named
// epoch (see notifications.epoch), in one transaction and in the modules' format.
const newEpochStatement = `
do $$
declare
    epoch_table text;
begin
    for epoch_table in select format('%I.%I', schemaname, tablename) from pg_tables where tablename = 'epoch' loop
        execute format('update %s set epoch = substr(md5(gen_random_uuid()::text), 1, 8)', epoch_table);
    end loop;
end
$$`

// disconnectStatement closes the connections of clients, which can have the
// previous epoch cached.
const disconnectStatement = `
select pg_terminate_backend(pid)
from   pg_stat_activity
where  datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`

// newEpoch starts a new epoch: from here on, sequence numbers that the lost part of
// the history used can be assigned again. Cursors of the previous epoch are
// answered with a reset.
func newEpoch(ctx context.Context, directory string) error {
	ctx, done := context.WithTimeout(ctx, epochTimeout)
	defer done()
	return onSocket(directory, "techtalks", func(db *sql.DB) error {
		for _, statement := range []string{newEpochStatement, disconnectStatement} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("new epoch: %w", err)
			}
		}
		return nil
	})
}
