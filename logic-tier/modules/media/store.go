package media

import (
	"context"
	"database/sql"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

const uploadColumns = `u.id, u.account, u.size, u.claimed_sha256, u.file_name, u.content_type, u.request, u.create_time, u.expire_time,
       f.id, f.size, f.sha256, f.update_time`

func scanUpload(columns func(...any) error) (u upload, err error) {
	var size sql.NullInt64
	err = columns(&u.id, &u.account, &size, &u.claimed, &u.fileName, &u.contentType, &u.request, &u.created, &u.expires,
		&u.file.id, &u.file.size, &u.file.sha256, &u.file.updated)
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

// One account's uploads are begun one after the other, so that they are counted
// rightly. The first number is this module's among the database's locks.
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

// usage is what an account has.
type usage struct {
	stored              int64
	unfinished, uploads int
}

// lockUsage returns what an account has; no more uploads begin before tx ends.
func (s store) lockUsage(ctx context.Context, tx *postgres.Tx, account int64, made bool) (u usage, err error) {
	if _, err := postgres.Exec(ctx, tx, lockAccountStatement, account); err != nil {
		return u, err
	}
	u, _, err = postgres.One(ctx, tx, func(columns func(...any) error) (u usage, err error) {
		err = columns(&u.stored, &u.unfinished, &u.uploads)
		return u, err
	}, usageStatement, account, made)
	return u, err
}

const addUploadStatement = `
with file as (
    insert into media.file (account, made)
    values ($2, $3)
    returning id
)
insert into media.upload (id, account, file_id, size, claimed_sha256, file_name, content_type, expire_time)
select $1, $2, file.id, nullif($4::bigint, 0), $5, $6, $7, now() + make_interval(secs => $8)
from   file
returning create_time, expire_time`

func (s store) addUpload(ctx context.Context, tx *postgres.Tx, u *upload, made bool) error {
	_, _, err := postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&u.created, &u.expires)
	}, addUploadStatement, u.id, u.account, made, u.size, u.claimed, u.fileName, u.contentType, seconds(uploadLife))
	return err
}

const touchUploadStatement = `
update media.upload
set    expire_time = now() + make_interval(secs => $2)
where  id = $1
returning expire_time`

// touchUpload lets an upload live anew, and returns until when.
func (s store) touchUpload(ctx context.Context, q postgres.Querier, id string) (time.Time, error) {
	expires, found, err := postgres.One(ctx, q, postgres.Value[time.Time], touchUploadStatement, id, seconds(uploadLife))
	if err == nil && !found {
		err = errNoUpload
	}
	return expires, err
}

// The parts of an upload go with it.
const removeUploadStatement = `
with gone as (
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
where  id in (select file_id from gone union all select file_id from parts)`

// removeUpload removes an upload and all that was made of it; nothing when it is
// not there.
func (s store) removeUpload(ctx context.Context, q postgres.Querier, id string) error {
	_, err := postgres.Exec(ctx, q, removeUploadStatement, id)
	return err
}

const claimRequestStatement = `
update media.upload
set    request = $3
where  id = $1
  and  request = $2`

// replaceRequest says which request asks for a recording of an upload, unless
// another has said so meanwhile.
func (s store) replaceRequest(ctx context.Context, id, was, is string) error {
	_, err := postgres.Exec(ctx, s.db, claimRequestStatement, id, was, is)
	return err
}

func seconds(d time.Duration) float64 { return d.Seconds() }
