package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// part is something that a worker has made of an upload.
type part struct {
	operation, name, upload string
	width, height           int
	file                    file
}

const partsStatement = `
select p.operation, p.name, p.upload_id, p.width, p.height, f.id, f.size, f.sha256
from   media.part p
join   media.file f on f.id = p.file_id
where  p.operation = $1
  and  f.sha256 is not null
order by p.name`

func scanPart(columns func(...any) error) (p part, err error) {
	err = columns(&p.operation, &p.name, &p.upload, &p.width, &p.height, &p.file.id, &p.file.size, &p.file.sha256)
	return p, err
}

// parts returns what is there, whole, of an operation's work.
func (s store) parts(ctx context.Context, operation string) ([]part, error) {
	return postgres.Collect(ctx, s.db, scanPart, partsStatement, operation)
}

const dropPartStatement = `
with gone as (
    delete from media.part
    where  operation = $1
      and  name = $2
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from gone)`

// The upload is locked, so that it does not go without this part.
const addPartStatement = `
with upload as (
    select id, account
    from   media.upload
    where  id = $3
    for    share
), file as (
    insert into media.file (account, made)
    select account, true
    from   upload
    returning id
)
insert into media.part (operation, name, upload_id, file_id, width, height)
select $1, $2, upload.id, file.id, $4, $5
from   upload, file
returning file_id`

// beginPart makes an empty file for a part, in the place of one that was there.
func (s store) beginPart(ctx context.Context, p *part) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, dropPartStatement, p.operation, p.name); err != nil {
			return err
		}
		id, found, err := postgres.One(ctx, tx, postgres.Value[int64], addPartStatement, p.operation, p.name, p.upload, p.width, p.height)
		if err == nil && !found {
			err = errNoUpload
		}
		p.file.id = id
		return err
	})
}

const dropPartsStatement = `
with gone as (
    delete from media.part
    where  operation = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from gone)`

// dropParts removes what an operation has made.
func (s store) dropParts(ctx context.Context, operation string) error {
	_, err := postgres.Exec(ctx, s.db, dropPartsStatement, operation)
	return err
}

// segmentName is the part that a segment is, in order.
func segmentName(i int) string { return fmt.Sprintf("segment-%05d", i) }
