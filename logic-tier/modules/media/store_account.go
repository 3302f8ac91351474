package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// Every file of the account belongs to an upload, a part or a recording. All but
// recordings are found by their files, which are indexed by account. Closing an
// account is rare enough to read the recordings through.
var removeAccountStatements = []string{`
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

func (s store) removeAccount(ctx context.Context, account int64) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		for _, statement := range removeAccountStatements {
			if _, err := postgres.Exec(ctx, tx, statement, account); err != nil {
				return err
			}
		}
		return nil
	})
}
