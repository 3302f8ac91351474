package notify

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

const notifyStatement = `
select pg_notify('` + channel + `', $1)`

func sendNotify(ctx context.Context, db *postgres.DB, payload string) error {
	_, err := postgres.Exec(ctx, db, notifyStatement, payload)
	return err
}
