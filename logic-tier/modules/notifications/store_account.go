package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// Inbox rows first: they refer to events by id, without a foreign key.
var removeAccountStatements = []string{`
delete from notifications.inbox
where  account = $1`, `
delete from notifications.event
where  account = $1`, `
delete from notifications.reader
where  account = $1`}

// removeAccount deletes an account's inbox, read state and operation events.
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

// No index supports this statement: removing a channel is rare, and an index would slow
// down every fan-out.
const redactTitlesStatement = `
update notifications.event
set    subject = channel || '/talks/removed-' || id, title = $2, channel_title = $3
where  channel = $1
  and  channel_title <> $3`

const deleteWatermarkStatement = `
delete from notifications.channel
where  channel = $1`

// redactChannel replaces the titles and addresses of a channel's talks in all inboxes,
// and deletes the channel's watermark.
func (s store) redactChannel(ctx context.Context, name string, id int64) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, redactTitlesStatement, name, removedTalk, removedChannel); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, deleteWatermarkStatement, id)
		return err
	})
}
