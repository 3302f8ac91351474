package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// epochTime bounds the new epoch's transaction.
const epochTime = 30 * time.Second

// newEpochStatement sets the epoch of every module that has one (a table of that
// name, see notifications.epoch), all at once. The format is theirs.
const newEpochStatement = `
do $$
declare
    counted text;
begin
    for counted in select format('%I.%I', schemaname, tablename) from pg_tables where tablename = 'epoch' loop
        execute format('update %s set epoch = substr(md5(gen_random_uuid()::text), 1, 8)', counted);
    end loop;
end
$$`

// Whoever connected before may keep the epoch before in memory.
const disconnectStatement = `
select pg_terminate_backend(pid)
from   pg_stat_activity
where  datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`

// newEpoch says that from here on the database may count other things by numbers
// that were given away before: every client's cursor of before is answered with
// "reset".
func newEpoch(ctx context.Context, directory string) error {
	ctx, done := context.WithTimeout(ctx, epochTime)
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
