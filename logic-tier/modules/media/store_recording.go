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
	files, err := postgres.Collect(ctx, s.db, scanRendition, renditionsStatement, id)
	for _, f := range files {
		if f.name == filePoster {
			r.hasPoster = true
		} else {
			r.renditions = append(r.renditions, f)
		}
	}
	return r, err
}

const recordingByUploadStatement = `
select ` + recordingColumns + `
from   media.recording r
where  r.upload_id = $1`

// recordingByUpload returns the recording that an upload has become, without its files. It
// reports false when there is none.
func (s store) recordingByUpload(ctx context.Context, upload string) (recording, bool, error) {
	return postgres.One(ctx, s.db, scanRecording, recordingByUploadStatement, upload)
}

const recordingFileStatement = `
select f.file_name, f.content_type, b.id, b.account, b.size, b.sha256, b.update_time
from   media.recording_file f
join   media.file b on b.id = f.file_id
where  f.recording_id = $1
  and  f.name = $2`

func (s store) recordingFile(ctx context.Context, ref fileRef) (namedFile, error) {
	f, found, err := postgres.One(ctx, s.db, func(columns func(...any) error) (f namedFile, err error) {
		err = columns(&f.fileName, &f.contentType, &f.id, &f.account, &f.size, &f.sha256, &f.updateTime)
		return f, err
	}, recordingFileStatement, ref.recording, ref.file)
	if err == nil && !found {
		err = errNoFile
	}
	f.ref = ref
	return f, err
}

const insertRecordingStatement = `
insert into media.recording (id, account, upload_id, operation, request, duration_ms, left_out)
values ($1, $2, $3, $4, $5, nullif($6::bigint, 0), $7)`

const insertRecordingFileStatement = `
insert into media.recording_file (recording_id, name, file_id, place, content_type, file_name, width, height)
values ($1, $2, $3, $4, $5, $6, $7, $8)`

// Keeps the files that now belong to the recording ($2). It removes the files of segments,
// and of outputs of earlier operations on the same upload.
const deletePublishedUploadStatement = `
with upload as (
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

// insertRecording turns an upload into a recording. The upload's file and the outputs that
// the recording lists now belong to the recording, and the upload is deleted. A nil poster
// means that there is none.
func (s store) insertRecording(ctx context.Context, tx *postgres.Tx, r recording, poster *rendition) error {
	if _, err := postgres.Exec(ctx, tx, insertRecordingStatement, r.id, r.account, r.upload, r.operation, r.request,
		r.duration.Milliseconds(), pq.Array(r.leftOut)); err != nil {
		return err
	}
	files := make([]int64, 0, len(r.renditions)+1)
	insert := func(place int, f rendition) error {
		files = append(files, f.file)
		_, err := postgres.Exec(ctx, tx, insertRecordingFileStatement, r.id, f.name, f.file, place, f.contentType, f.fileName, f.width, f.height)
		return err
	}
	for i, f := range r.renditions {
		if err := insert(i+1, f); err != nil {
			return err
		}
	}
	if poster != nil {
		if err := insert(0, *poster); err != nil {
			return err
		}
	}
	_, err := postgres.Exec(ctx, tx, deletePublishedUploadStatement, r.upload, pq.Array(files))
	return err
}

const deleteRecordingFilesStatement = `
with files as (
    delete from media.recording_file
    where  recording_id = $1
    returning file_id
)
update media.file
set    removed = true
where  id in (select file_id from files)`

const deleteRecordingStatement = `
delete from media.recording
where  id = $1`

// deleteRecording deletes a recording and its files. It does nothing if there is no such
// recording.
func (s store) deleteRecording(ctx context.Context, id string) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, deleteRecordingFilesStatement, id); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, deleteRecordingStatement, id)
		return err
	})
}
