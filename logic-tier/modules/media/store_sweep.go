package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

const removeExpiredStatement = `
with gone as (
    delete from media.upload
    where  id in (select id
                  from   media.upload
                  where  expire_time < now()
                  order by expire_time
                  limit  $1
                  for    update skip locked)
    returning id, file_id
), parts as (
    delete from media.part
    where  upload_id in (select id from gone)
    returning file_id
), removed as (
    update media.file
    set    removed = true
    where  id in (select file_id from gone union all select file_id from parts)
)
select count(*)
from   gone`

// removeExpired removes the first uploads whose time is over, with all that was
// made of them, and returns how many.
func (s store) removeExpired(ctx context.Context, most int) (int, error) {
	n, _, err := postgres.One(ctx, s.db, postgres.Value[int], removeExpiredStatement, most)
	return n, err
}

const totalStatement = `
select coalesce(sum(size), 0)::bigint
from   media.file`

// total returns how many bytes all files have, removed ones too until they are
// erased.
func (s store) total(ctx context.Context) (int64, error) {
	n, _, err := postgres.One(ctx, s.db, postgres.Value[int64], totalStatement)
	return n, err
}

// A file that another process works on is passed over.
const nextRemovedStatement = `
select id
from   media.file
where  removed
order by id
limit  1
for    update skip locked`

const forgetFileStatement = `
delete from media.file
where  id = $1`

// eraseSome removes some bytes of a removed file, and the file with its last;
// false when there is none.
func (s store) eraseSome(ctx context.Context, bytes storage) (found bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		var id int64
		if id, found, err = postgres.One(ctx, tx, postgres.Value[int64], nextRemovedStatement); err != nil || !found {
			return err
		}
		gone, err := bytes.remove(ctx, tx, id)
		if err != nil || !gone {
			return err
		}
		_, err = postgres.Exec(ctx, tx, forgetFileStatement, id)
		return err
	})
	return found, err
}
