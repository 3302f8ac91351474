package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// output is a file that a transcode has produced from an upload: the poster, the 480p
// rendition or a segment of it. The table is media.part.
type output struct {
	operation, name, upload string
	width, height           int
	file                    file
}

const outputsStatement = `
select p.operation, p.name, p.upload_id, p.width, p.height, f.id, f.size, f.sha256
from   media.part p
join   media.file f on f.id = p.file_id
where  p.operation = $1
  and  f.sha256 is not null
order by p.name`

func scanOutput(columns func(...any) error) (o output, err error) {
	err = columns(&o.operation, &o.name, &o.upload, &o.width, &o.height, &o.file.id, &o.file.size, &o.file.sha256)
	return o, err
}

// outputs returns the complete outputs of an operation.
func (s store) outputs(ctx context.Context, operation string) ([]output, error) {
	return postgres.Collect(ctx, s.db, scanOutput, outputsStatement, operation)
}

const deleteOutputStatement = `
with part as (
    delete from media.part
    where  operation = $1
      and  name = $2
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from part)`

// The lock on the upload keeps a concurrent deletion from missing the new output.
const insertOutputStatement = `
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

// createOutput creates an output with an empty file. It replaces an output of the same name.
func (s store) createOutput(ctx context.Context, o *output) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, deleteOutputStatement, o.operation, o.name); err != nil {
			return err
		}
		id, found, err := postgres.One(ctx, tx, postgres.Value[int64], insertOutputStatement, o.operation, o.name, o.upload, o.width, o.height)
		if err == nil && !found {
			err = errNoUpload
		}
		o.file.id = id
		return err
	})
}

const deleteOutputsStatement = `
with parts as (
    delete from media.part
    where  operation = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from parts)`

// deleteOutputs deletes all outputs of an operation.
func (s store) deleteOutputs(ctx context.Context, operation string) error {
	_, err := postgres.Exec(ctx, s.db, deleteOutputsStatement, operation)
	return err
}

// segmentName returns the name of the output that holds the i-th segment. Names sort in
// playing order.
func segmentName(i int) string { return fmt.Sprintf("segment-%05d", i) }
