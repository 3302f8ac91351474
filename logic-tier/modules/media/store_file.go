package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// The row lock serialises appends to one file.
const lockFileStatement = `
select f.id, f.account, f.size, f.sha256, f.update_time, f.digest,
       case when $2 and f.account <> 0
            then (select coalesce(sum(o.size), 0)
                  from   media.file o
                  where  o.account = f.account
                    and  o.made = f.made
                    and  not o.removed)
            else 0
       end::bigint
from   media.file f
where  f.id = $1
  and  not f.removed
for    update`

// lockFile locks a file for appending. withUsage also sums up the files of its account.
func (s store) lockFile(ctx context.Context, tx *postgres.Tx, id int64, withUsage bool) (lockedFile, bool, error) {
	return postgres.One(ctx, tx, func(columns func(...any) error) (f lockedFile, err error) {
		err = columns(&f.id, &f.account, &f.size, &f.sha256, &f.updateTime, &f.digest, &f.accountBytes)
		return f, err
	}, lockFileStatement, id, withUsage)
}

const updateFileStatement = `
update media.file
set    size        = $2,
       digest      = $3,
       sha256      = $4,
       update_time = now()
where  id = $1
returning update_time`

func (s store) updateFile(ctx context.Context, tx *postgres.Tx, f *lockedFile) error {
	_, _, err := postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&f.updateTime)
	}, updateFileStatement, f.id, f.size, f.digest, f.sha256)
	return err
}
