package media

import (
	"context"
	"database/sql"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

const recordingColumns = `r.id, r.account, r.upload_id, r.operation, r.request, r.duration_ms, r.left_out`

func scanRecording(columns func(...any) error) (r recording, err error) {
	var milliseconds sql.NullInt64
	err = columns(&r.id, &r.account, &r.upload, &r.operation, &r.request, &milliseconds, (*pq.StringArray)(&r.leftOut))
	r.duration = time.Duration(milliseconds.Int64) * time.Millisecond
	return r, err
}

const recordingStatement = `
select ` + recordingColumns + `
from   media.recording r
where  r.id = $1`

const renditionsStatement = `
select f.name, f.file_id, b.size, f.content_type, f.file_name, f.width, f.height
from   media.recording_file f
join   media.file b on b.id = f.file_id
where  f.recording_id = $1
order by f.place`

func scanRendition(columns func(...any) error) (r rendition, err error) {
	err = columns(&r.name, &r.file, &r.size, &r.contentType, &r.fileName, &r.width, &r.height)
	return r, err
}

func (s store) recording(ctx context.Context, id string) (recording, error) {
	r, found, err := postgres.One(ctx, s.db, scanRecording, recordingStatement, id)
	switch {
	case err != nil:
		return r, err
	case !found:
		return r, errNoRecording
	}
	all, err := postgres.Collect(ctx, s.db, scanRendition, renditionsStatement, id)
	for _, each := range all {
		if each.name == poster {
			r.poster = true
		} else {
			r.renditions = append(r.renditions, each)
		}
	}
	return r, err
}

const recordingOfStatement = `
select ` + recordingColumns + `
from   media.recording r
where  r.upload_id = $1`

// recordingOf returns the recording that was made of an upload; false when there
// is none.
func (s store) recordingOf(ctx context.Context, upload string) (recording, bool, error) {
	return postgres.One(ctx, s.db, scanRecording, recordingOfStatement, upload)
}

const recordingFileStatement = `
select f.file_name, f.content_type, b.id, b.account, b.size, b.sha256, b.update_time
from   media.recording_file f
join   media.file b on b.id = f.file_id
where  f.recording_id = $1
  and  f.name = $2`

func (s store) recordingFile(ctx context.Context, name fileName) (named, error) {
	n, found, err := postgres.One(ctx, s.db, func(columns func(...any) error) (n named, err error) {
		err = columns(&n.fileName, &n.contentType, &n.id, &n.account, &n.size, &n.sha256, &n.updated)
		return n, err
	}, recordingFileStatement, name.recording, name.file)
	if err == nil && !found {
		err = errNoFile
	}
	n.name = name
	return n, err
}

const addRecordingStatement = `
insert into media.recording (id, account, upload_id, operation, request, duration_ms, left_out)
values ($1, $2, $3, $4, $5, nullif($6::bigint, 0), $7)`

const addRecordingFileStatement = `
insert into media.recording_file (recording_id, name, file_id, place, content_type, file_name, width, height)
values ($1, $2, $3, $4, $5, $6, $7, $8)`

// What is not the recording's is removed: segments, and what an operation before
// made of the upload.
const forgetUploadStatement = `
with gone as (
    delete from media.upload
    where  id = $1
), parts as (
    delete from media.part
    where  upload_id = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from parts)
  and  id <> all($2)`

// addRecording makes a recording of an upload, which is no more: its file is the
// recording's now, and those of its parts that the recording names.
func (s store) addRecording(ctx context.Context, tx *postgres.Tx, r recording, picture *rendition) error {
	if _, err := postgres.Exec(ctx, tx, addRecordingStatement, r.id, r.account, r.upload, r.operation, r.request,
		r.duration.Milliseconds(), pq.Array(r.leftOut)); err != nil {
		return err
	}
	files := make([]int64, 0, len(r.renditions)+1)
	add := func(place int, f rendition) error {
		files = append(files, f.file)
		_, err := postgres.Exec(ctx, tx, addRecordingFileStatement, r.id, f.name, f.file, place, f.contentType, f.fileName, f.width, f.height)
		return err
	}
	for i, f := range r.renditions {
		if err := add(i+1, f); err != nil {
			return err
		}
	}
	if picture != nil {
		if err := add(0, *picture); err != nil {
			return err
		}
	}
	_, err := postgres.Exec(ctx, tx, forgetUploadStatement, r.upload, pq.Array(files))
	return err
}

const removeRecordingStatement = `
with files as (
    delete from media.recording_file
    where  recording_id = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from files)`

const forgetRecordingStatement = `
delete from media.recording
where  id = $1`

// removeRecording removes a recording and its files; nothing when it is not
// there.
func (s store) removeRecording(ctx context.Context, id string) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, removeRecordingStatement, id); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, forgetRecordingStatement, id)
		return err
	})
}
