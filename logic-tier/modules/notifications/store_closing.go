package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// In the order in which nothing is left that another statement would need.
var removeAccountStatements = []string{`
delete from notifications.inbox
where  account = $1`, `
delete from notifications.event
where  account = $1`, `
delete from notifications.reader
where  account = $1`}

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

// Without an index: closing an account with channels is rare, and each fan-out would
// pay for one.
const forgetTitlesStatement = `
update notifications.event
set    subject = channel || '/talks/removed-' || id, title = $2, channel_title = $3
where  channel = $1
  and  channel_title <> $3`

const forgetChannelStatement = `
delete from notifications.channel
where  channel = $1`

func (s store) forgetChannel(ctx context.Context, name string, id int64) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, forgetTitlesStatement, name, removedTalk, removedChannel); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, forgetChannelStatement, id)
		return err
	})
}
