package following

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

// An account's follows are added one at a time, so that concurrent requests cannot exceed
// the limit.
const lockAccountStatement = `
select pg_advisory_xact_lock(hashtextextended('following.account', $1))`

const addStatement = `
insert into following.follow (channel_id, account_id, channel, channel_title)
select $1, $2, $3, $4
where  (select count(*) from following.follow where account_id = $2) < $5
   or  exists (select from following.follow where channel_id = $1 and account_id = $2)
on conflict (channel_id, account_id) do update
set    channel_title = excluded.channel_title`

// add adds a follow, or updates the channel's title if it exists. It reports false if the
// account already follows limit channels.
func (s store) add(ctx context.Context, account int64, f followedChannel, limit int) (added bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, lockAccountStatement, account); err != nil {
			return err
		}
		rows, err := postgres.Exec(ctx, tx, addStatement, f.channelID, account, f.channel, f.title, limit)
		added = rows > 0
		return err
	})
	return added, err
}

const removeStatement = `
delete from following.follow
where  channel_id = $1
  and  account_id = $2`

func (s store) remove(ctx context.Context, account, channelID int64) error {
	_, err := postgres.Exec(ctx, s.db, removeStatement, channelID, account)
	return err
}

const removeAccountStatement = `
delete from following.follow
where  account_id = $1`

func (s store) removeAccount(ctx context.Context, account int64) error {
	_, err := postgres.Exec(ctx, s.db, removeAccountStatement, account)
	return err
}

const removeChannelStatement = `
delete from following.follow
where  (channel_id, account_id) in (select channel_id, account_id
                                    from   following.follow
                                    where  channel_id = $1
                                    limit  $2)`

// removeChannel deletes up to limit followers of a channel and returns their number.
func (s store) removeChannel(ctx context.Context, channelID, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeChannelStatement, channelID, limit)
}

const isFollowingStatement = `
select exists (select
               from   following.follow
               where  account_id = $1
                 and  channel = $2)`

func (s store) isFollowing(ctx context.Context, account int64, channel string) (bool, error) {
	follows, _, err := postgres.One(ctx, s.db, postgres.Value[bool], isFollowingStatement, account, channel)
	return follows, err
}

const followsStatement = `
select channel_id, channel, channel_title, followed_at
from   following.follow
where  account_id = $1
  and  (followed_at, channel_id) < ($2, $3)
order by followed_at desc, channel_id desc
limit  $4`

// follows returns up to limit follows of an account, the latest first, from before the
// given time and channel.
func (s store) follows(ctx context.Context, account int64, before time.Time, channelID int64, limit int) ([]followedChannel, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (f followedChannel, err error) {
		err = columns(&f.channelID, &f.channel, &f.title, &f.since)
		return f, err
	}, followsStatement, account, before, channelID, limit)
}

const followersStatement = `
select account_id
from   following.follow
where  channel_id = $1
  and  account_id > $2
order by account_id
limit  $3`

// followers returns up to limit followers of a channel with ids above after, ascending.
func (s store) followers(ctx context.Context, channelID, after int64, limit int) ([]int64, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[int64], followersStatement, channelID, after, limit)
}
