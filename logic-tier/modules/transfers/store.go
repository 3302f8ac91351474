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

// isStored says whether text can be looked for: what Postgres cannot store is not
// there.
func isStored(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

const requestedStatement = `
select title
from   transfers.import
where  account_id = $1
  and  request_id = $2
  and  upload = $3`

// requested returns the title of an import that was asked for already.
func (s store) requested(ctx context.Context, account int64, requestID, upload string) (title string, found bool, err error) {
	return postgres.One(ctx, s.db, postgres.Value[string], requestedStatement, account, requestID, upload)
}

const addImportStatement = `
insert into transfers.import (operation, account_id, request_id, upload, title)
values ($1, $2, $3, $4, $5)
on conflict (account_id, request_id) do update
set    operation = excluded.operation, upload = excluded.upload, title = excluded.title`

func (s store) addImport(ctx context.Context, operation string, account int64, requestID, upload, title string) error {
	_, err := postgres.Exec(ctx, s.db, addImportStatement, operation, account, requestID, upload, title)
	return err
}

const importerStatement = `
select account_id
from   transfers.import
where  operation = $1`

// importer returns whose an import is.
func (s store) importer(ctx context.Context, operation string) (int64, error) {
	account, found, err := postgres.One(ctx, s.db, postgres.Value[int64], importerStatement, operation)
	if err == nil && !found {
		err = errNoOperation
	}
	return account, err
}

// rejection says why a file could not be taken. As JSON: one parameter a batch.
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

func (s store) addRejections(ctx context.Context, operation string, all []rejection) error {
	if len(all) == 0 {
		return nil
	}
	rows, err := json.Marshal(all)
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

func (s store) rejections(ctx context.Context, operation string, after int64, most int) ([]rejection, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (r rejection, err error) {
		err = columns(&r.Number, &r.Path, &r.Reason)
		return r, err
	}, rejectionsStatement, operation, after, most)
}

// What is old goes a bounded number of rows at a time.
const (
	removeImportsStatement = `
delete from transfers.import
where  operation in (select operation
                     from   transfers.import
                     where  created_at <= now() - make_interval(secs => $1)
                     limit  $2
                     for    update skip locked)`

	removeRejectionsStatement = `
delete from transfers.rejection
where  (operation, number) in (select operation, number
                               from   transfers.rejection
                               where  created_at <= now() - make_interval(secs => $1)
                               limit  $2
                               for    update skip locked)`

	removeExportsStatement = `
delete from transfers.export
where  operation in (select operation
                     from   transfers.export
                     where  created_at <= now() - make_interval(secs => $1)
                     limit  $2
                     for    update skip locked)`

	removeArchivedStatement = `
delete from transfers.archived
where  (operation, number) in (select operation, number
                               from   transfers.archived
                               where  created_at <= now() - make_interval(secs => $1)
                               limit  $2
                               for    update skip locked)`
)

// remove removes at most so many rows of that age, and says how many.
func (s store) remove(ctx context.Context, statement string, age time.Duration, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, statement, age.Seconds(), most)
}
