package transfers

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

const addExportStatement = `
insert into transfers.export (operation, account_id)
values ($1, $2)
on conflict do nothing`

// addExport keeps whose an export is.
func (s store) addExport(ctx context.Context, operation string, account int64) error {
	_, err := postgres.Exec(ctx, s.db, addExportStatement, operation, account)
	return err
}

// The rows that say whose an operation is go last.
var removeAccountStatements = []string{`
delete from transfers.rejection
where  (operation, number) in (select r.operation, r.number
                               from   transfers.rejection r
                               join   transfers.import i on i.operation = r.operation
                               where  i.account_id = $1
                               limit  $2)`, `
delete from transfers.archived
where  (operation, number) in (select a.operation, a.number
                               from   transfers.archived a
                               join   transfers.export e on e.operation = a.operation
                               where  e.account_id = $1
                               limit  $2)`, `
delete from transfers.import
where  operation in (select operation from transfers.import where account_id = $1 limit $2)`, `
delete from transfers.export
where  operation in (select operation from transfers.export where account_id = $1 limit $2)`}

// removeOf removes at most so many rows of an account, and returns how many.
func (s store) removeOf(ctx context.Context, statement string, account, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, statement, account, most)
}
