package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

const deleteExpiredStatement = `
with expired as (
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
    where  upload_id in (select id from expired)
    returning file_id
), removed as (
    update media.file
    set    removed = true
    where  id in (select file_id from expired union all select file_id from parts)
)
select count(*)
from   expired`

// deleteExpired deletes at most limit expired uploads with the outputs of their transcodes,
// and returns how many uploads it deleted.
func (s store) deleteExpired(ctx context.Context, limit int64) (int64, error) {
	n, _, err := postgres.One(ctx, s.db, postgres.Value[int64], deleteExpiredStatement, limit)
	return n, err
}

const totalBytesStatement = `
select coalesce(sum(size), 0)::bigint
from   media.file`

// totalBytes returns the size of all files. Deleted files count until their chunks are
// deleted.
func (s store) totalBytes(ctx context.Context) (int64, error) {
	n, _, err := postgres.One(ctx, s.db, postgres.Value[int64], totalBytesStatement)
	return n, err
}

// Skips files whose chunks another process is deleting.
const nextRemovedStatement = `
select id
from   media.file
where  removed
order by id
limit  1
for    update skip locked`

const deleteFileStatement = `
delete from media.file
where  id = $1`

// purgeBatch deletes one batch of a removed file's chunks, and the file's row with the last
// batch. It reports false when no file is left to purge.
func (s store) purgeBatch(ctx context.Context, chunks chunkStore) (found bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		var id int64
		if id, found, err = postgres.One(ctx, tx, postgres.Value[int64], nextRemovedStatement); err != nil || !found {
			return err
		}
		empty, err := chunks.delete(ctx, tx, id)
		if err != nil || !empty {
			return err
		}
		_, err = postgres.Exec(ctx, tx, deleteFileStatement, id)
		return err
	})
	return found, err
}
