package transfers

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// Imports and exports are deleted last, because the other rows find their account
// through them.
var deleteAccountStatements = []string{`
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

// deleteByAccount deletes up to limit rows of an account, and returns how many it
// deleted.
func (s store) deleteByAccount(ctx context.Context, statement string, account, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, statement, account, limit)
}
