package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// Every file of an account belongs to an upload, a transcode output or a recording. The
// first three statements find their rows by the files, which are indexed by account. The
// fourth scans all recordings; accounts are closed rarely enough for that.
var deleteAccountStatements = []string{`
delete from media.part
where  file_id in (select id from media.file where account = $1 and not removed)`, `
delete from media.upload
where  file_id in (select id from media.file where account = $1 and not removed)`, `
delete from media.recording_file
where  file_id in (select id from media.file where account = $1 and not removed)`, `
delete from media.recording
where  account = $1`, `
update media.file
set    removed = true
where  account = $1
  and  not removed`}

// deleteAccount deletes everything that an account stores.
func (s store) deleteAccount(ctx context.Context, account int64) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		for _, statement := range deleteAccountStatements {
			if _, err := postgres.Exec(ctx, tx, statement, account); err != nil {
				return err
			}
		}
		return nil
	})
}
