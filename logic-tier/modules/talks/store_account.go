package talks

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

const retireChannelsStatement = `
insert into talks.retired_channel (slug)
select slug
from   talks.channel
where  owner_id = $1
on conflict do nothing`

// retireChannels reserves the addresses of an account's channels, so that they are never
// reused.
func (s store) retireChannels(ctx context.Context, owner int64) error {
	_, err := postgres.Exec(ctx, s.db, retireChannelsStatement, owner)
	return err
}

var deleteFormsStatements = []string{`
delete from talks.draft
where  account_id = $1`, `
delete from talks.request
where  account_id = $1`}

// deleteForms deletes an account's drafts and request ids.
func (s store) deleteForms(ctx context.Context, account int64) error {
	for _, statement := range deleteFormsStatements {
		if _, err := postgres.Exec(ctx, s.db, statement, account); err != nil {
			return err
		}
	}
	return nil
}

const removeTalksStatement = `
delete from talks.talk
where  id in (select id
              from   talks.talk
              where  channel_id = $1
              limit  $2)`

// removeTalks deletes up to limit talks of a channel, including withdrawn ones, and
// returns their number.
func (s store) removeTalks(ctx context.Context, channelID, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeTalksStatement, channelID, limit)
}

const removeChannelStatement = `
delete from talks.channel
where  id = $1`

func (s store) removeChannel(ctx context.Context, tx *postgres.Tx, id int64) error {
	_, err := postgres.Exec(ctx, tx, removeChannelStatement, id)
	return err
}

const isRetiredStatement = `
select exists (select
               from   talks.retired_channel
               where  slug = $1)`

// isRetired reports whether a channel address belonged to a closed account.
func (s store) isRetired(ctx context.Context, tx *postgres.Tx, slug string) (bool, error) {
	retired, _, err := postgres.One(ctx, tx, postgres.Value[bool], isRetiredStatement, slug)
	return retired, err
}
