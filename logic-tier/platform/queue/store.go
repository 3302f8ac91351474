package queue

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// handleOnceStatement runs with the module's role, in the module's transaction.
const handleOnceStatement = `
select queue.handle_once($1, $2)`

func handleOnce(ctx context.Context, tx *postgres.Tx, queue string, id int64) (isNew bool, err error) {
	isNew, _, err = postgres.One(ctx, tx, postgres.Value[bool], handleOnceStatement, queue, id)
	return isNew, err
}
