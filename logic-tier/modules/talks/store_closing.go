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

// retireChannels keeps the addresses of an account's channels from being used
// again.
func (s store) retireChannels(ctx context.Context, owner int64) error {
	_, err := postgres.Exec(ctx, s.db, retireChannelsStatement, owner)
	return err
}

var forgetFormsStatements = []string{`
delete from talks.draft
where  account_id = $1`, `
delete from talks.request
where  account_id = $1`}

// forgetForms deletes the forms that an account sent.
func (s store) forgetForms(ctx context.Context, account int64) error {
	for _, statement := range forgetFormsStatements {
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

// removeTalks deletes at most so many talks of a channel, withdrawn ones too, and
// returns how many.
func (s store) removeTalks(ctx context.Context, channelID, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeTalksStatement, channelID, most)
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

func (s store) isRetired(ctx context.Context, tx *postgres.Tx, slug string) (bool, error) {
	retired, _, err := postgres.One(ctx, tx, postgres.Value[bool], isRetiredStatement, slug)
	return retired, err
}
