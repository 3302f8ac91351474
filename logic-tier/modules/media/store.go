package media

import (
	"context"
	"database/sql"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

// store holds the rows of uploads, files, transcode outputs and recordings. The bytes of
// files are in a chunkStore.
type store struct{ db *postgres.DB }

const uploadColumns = `u.id, u.account, u.size, u.claimed_sha256, u.file_name, u.content_type, u.request, u.create_time, u.expire_time,
       f.id, f.size, f.sha256, f.update_time`

func scanUpload(columns func(...any) error) (u upload, err error) {
	var size sql.NullInt64
	err = columns(&u.id, &u.account, &size, &u.expectedSHA256, &u.fileName, &u.contentType, &u.request, &u.createTime, &u.expireTime,
		&u.file.id, &u.file.size, &u.file.sha256, &u.file.updateTime)
	u.size = size.Int64
	return u, err
}

const uploadStatement = `
select ` + uploadColumns + `
from   media.upload u
join   media.file f on f.id = u.file_id
where  u.id = $1`

func (s store) upload(ctx context.Context, id string) (upload, error) {
	u, found, err := postgres.One(ctx, s.db, scanUpload, uploadStatement, id)
	if err == nil && !found {
		err = errNoUpload
	}
	return u, err
}

const lockUploadStatement = uploadStatement + `
for    update`

func (s store) lockUpload(ctx context.Context, tx *postgres.Tx, id string) (upload, error) {
	u, found, err := postgres.One(ctx, tx, scanUpload, lockUploadStatement, id)
	if err == nil && !found {
		err = errNoUpload
	}
	return u, err
}

// Serialises the creation of an account's uploads, so that concurrent requests cannot
// exceed the limits together. The first key distinguishes this lock from those of other
// modules.
const lockAccountStatement = `
select pg_advisory_xact_lock(1835361385, ($1::bigint % 2147483647)::integer)`

const usageStatement = `
select coalesce(sum(f.size), 0)::bigint,
       count(u.id) filter (where f.sha256 is null),
       count(u.id)
from   media.file f
left join media.upload u on u.file_id = f.id
where  f.account = $1
  and  f.made = $2
  and  not f.removed`

// usage is what an account stores.
type usage struct {
	bytes               int64
	incomplete, uploads int
}

// lockUsage returns the account's usage: of uploaded files, or of generated ones. The usage
// cannot grow by further uploads before tx ends.
func (s store) lockUsage(ctx context.Context, tx *postgres.Tx, account int64, generated bool) (u usage, err error) {
	if _, err := postgres.Exec(ctx, tx, lockAccountStatement, account); err != nil {
		return u, err
	}
	u, _, err = postgres.One(ctx, tx, func(columns func(...any) error) (u usage, err error) {
		err = columns(&u.bytes, &u.incomplete, &u.uploads)
		return u, err
	}, usageStatement, account, generated)
	return u, err
}

const insertUploadStatement = `
with file as (
    insert into media.file (account, made)
    values ($2, $3)
    returning id
)
insert into media.upload (id, account, file_id, size, claimed_sha256, file_name, content_type, expire_time)
select $1, $2, file.id, nullif($4::bigint, 0), $5, $6, $7, now() + make_interval(secs => $8)
from   file
returning create_time, expire_time`

func (s store) insertUpload(ctx context.Context, tx *postgres.Tx, u *upload, generated bool) error {
	_, _, err := postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&u.createTime, &u.expireTime)
	}, insertUploadStatement, u.id, u.account, generated, u.size, u.expectedSHA256, u.fileName, u.contentType, uploadLifetime.Seconds())
	return err
}

const renewUploadStatement = `
update media.upload
set    expire_time = now() + make_interval(secs => $2)
where  id = $1
returning expire_time`

// renewUpload extends the upload's lifetime and returns the new expiry time.
func (s store) renewUpload(ctx context.Context, q postgres.Querier, id string) (time.Time, error) {
	expireTime, found, err := postgres.One(ctx, q, postgres.Value[time.Time], renewUploadStatement, id, uploadLifetime.Seconds())
	if err == nil && !found {
		err = errNoUpload
	}
	return expireTime, err
}

const deleteUploadStatement = `
with upload as (
    delete from media.upload
    where  id = $1
    returning file_id
), parts as (
    delete from media.part
    where  upload_id = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from upload union all select file_id from parts)`

// deleteUpload deletes an upload and the outputs of its transcodes. It does nothing if there
// is no such upload.
func (s store) deleteUpload(ctx context.Context, q postgres.Querier, id string) error {
	_, err := postgres.Exec(ctx, q, deleteUploadStatement, id)
	return err
}

const replaceRequestStatement = `
update media.upload
set    request = $3
where  id = $1
  and  request = $2`

// replaceRequest changes the request that processes an upload from previous to next, unless
// another call has replaced previous already.
func (s store) replaceRequest(ctx context.Context, id, previous, next string) error {
	_, err := postgres.Exec(ctx, s.db, replaceRequestStatement, id, previous, next)
	return err
}
