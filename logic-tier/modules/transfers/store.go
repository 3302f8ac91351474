package transfers

import (
	"context"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

// isStorable reports whether Postgres can store s as text. A name that it cannot store
// does not exist.
func isStorable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

const importTitleStatement = `
select title
from   transfers.import
where  account_id = $1
  and  request_id = $2
  and  upload = $3`

// importTitle returns the title of the import that an earlier, identical request
// created.
func (s store) importTitle(ctx context.Context, account int64, requestID, upload string) (title string, found bool, err error) {
	return postgres.One(ctx, s.db, postgres.Value[string], importTitleStatement, account, requestID, upload)
}

const addImportStatement = `
insert into transfers.import (operation, account_id, request_id, upload, title)
values ($1, $2, $3, $4, $5)
on conflict (account_id, request_id) do update
set    operation = excluded.operation, upload = excluded.upload, title = excluded.title`

// addImport stores an import. It is idempotent by request ID.
func (s store) addImport(ctx context.Context, operation string, account int64, requestID, upload, title string) error {
	_, err := postgres.Exec(ctx, s.db, addImportStatement, operation, account, requestID, upload, title)
	return err
}

const importOwnerStatement = `
select account_id
from   transfers.import
where  operation = $1`

// importOwner returns the account of an import.
func (s store) importOwner(ctx context.Context, operation string) (int64, error) {
	account, found, err := postgres.One(ctx, s.db, postgres.Value[int64], importOwnerStatement, operation)
	if err == nil && !found {
		err = errImportNotFound
	}
	return account, err
}

// rejection is a file that was not imported, with the reason. Batches are sent to the
// database as one JSON parameter.
type rejection struct {
	Number int64  `json:"number"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

const addRejectionsStatement = `
insert into transfers.rejection (operation, number, path, reason)
select $1, number, path, reason
from   jsonb_to_recordset($2::jsonb) as new (number bigint, path text, reason text)
on conflict (operation, number) do nothing`

func (s store) addRejections(ctx context.Context, operation string, rejections []rejection) error {
	if len(rejections) == 0 {
		return nil
	}
	rows, err := json.Marshal(rejections)
	if err != nil {
		return err
	}
	_, err = postgres.Exec(ctx, s.db, addRejectionsStatement, operation, string(rows))
	return err
}

const rejectionsStatement = `
select number, path, reason
from   transfers.rejection
where  operation = $1
  and  number > $2
order by number
limit  $3`

func (s store) rejections(ctx context.Context, operation string, after int64, limit int) ([]rejection, error) {
	return postgres.Collect(ctx, s.db, func(scan func(...any) error) (r rejection, err error) {
		err = scan(&r.Number, &r.Path, &r.Reason)
		return r, err
	}, rejectionsStatement, operation, after, limit)
}

// These statements delete up to $2 rows older than $1 seconds.
const (
	expireImportsStatement = `
delete from transfers.import
where  operation in (select operation
                     from   transfers.import
                     where  created_at <= now() - make_interval(secs => $1)
                     limit  $2
                     for    update skip locked)`

	expireRejectionsStatement = `
delete from transfers.rejection
where  (operation, number) in (select operation, number
                               from   transfers.rejection
                               where  created_at <= now() - make_interval(secs => $1)
                               limit  $2
                               for    update skip locked)`

	expireExportsStatement = `
delete from transfers.export
where  operation in (select operation
                     from   transfers.export
                     where  created_at <= now() - make_interval(secs => $1)
                     limit  $2
                     for    update skip locked)`

	expireEntriesStatement = `
delete from transfers.archived
where  (operation, number) in (select operation, number
                               from   transfers.archived
                               where  created_at <= now() - make_interval(secs => $1)
                               limit  $2
                               for    update skip locked)`
)

// deleteExpired runs one of these statements, and returns how many rows it deleted.
func (s store) deleteExpired(ctx context.Context, statement string, age time.Duration, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, statement, age.Seconds(), limit)
}
