package talks

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/pagetoken"
	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

// errTalkExists is returned when another talk of the channel has the same slug, which
// derives from the title.
var errTalkExists = apperror.New(apperror.Exists, "TALK_EXISTS", "the channel already has a talk with this name; change the title")

const channelColumns = `c.id, c.slug, c.title, c.description, coalesce(c.owner_id, 0), c.owner_handle, c.talk_count, c.created_at`

func (c *channel) columns() []any {
	return []any{&c.id, &c.slug, &c.title, &c.description, &c.ownerID, &c.ownerHandle, &c.talkCount, &c.created}
}

func scanChannel(columns func(...any) error) (c channel, err error) {
	err = columns(c.columns()...)
	return c, err
}

const channelStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.slug = $1`

func (s store) channel(ctx context.Context, slug string) (channel, error) {
	c, found, err := postgres.One(ctx, s.db, scanChannel, channelStatement, slug)
	if err == nil && !found {
		err = errChannelNotFound
	}
	return c, err
}

const lockChannelStatement = channelStatement + `
for    no key update`

func (s store) lockChannel(ctx context.Context, tx *postgres.Tx, slug string) (channel, error) {
	c, found, err := postgres.One(ctx, tx, scanChannel, lockChannelStatement, slug)
	if err == nil && !found {
		err = errChannelNotFound
	}
	return c, err
}

const latestChannelsOfStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.owner_id = $1
order by c.id desc
limit  $2`

func (s store) latestChannelsOf(ctx context.Context, owner int64, limit int) ([]channel, error) {
	return postgres.Collect(ctx, s.db, scanChannel, latestChannelsOfStatement, owner, limit)
}

// titleSortKey is the expression that channels are sorted by. It is limited to 100
// characters, so that a page token, which includes it, stays within the contract's 1,000.
const titleSortKey = `lower(left(c.title, 100))`

const channelsStatement = `
select ` + channelColumns + `, ` + titleSortKey + `
from   talks.channel c
where  (` + titleSortKey + `, c.id) > ($1, $2)
order by ` + titleSortKey + `, c.id
limit  $3`

const channelsBackStatement = `
select ` + channelColumns + `, ` + titleSortKey + `
from   talks.channel c
where  (` + titleSortKey + `, c.id) < ($1, $2)
order by ` + titleSortKey + ` desc, c.id desc
limit  $3`

// titleKey is a channel's sort key in the list by title.
type titleKey struct {
	Key string `json:"k"`
	ID  int64  `json:"i"`
}

// listedChannel is a channel with its sort key.
type listedChannel struct {
	channel
	key string
}

func (t listedChannel) sortKey() titleKey { return titleKey{t.key, t.id} }

func (s store) channels(ctx context.Context, cursor *pagetoken.Token[titleKey], limit int) ([]listedChannel, error) {
	start, statement := titleKey{}, channelsStatement
	if cursor != nil {
		start = cursor.Key
		if cursor.Backward {
			statement = channelsBackStatement
		}
	}
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (t listedChannel, err error) {
		err = columns(append(t.columns(), &t.key)...)
		return t, err
	}, statement, start.Key, start.ID, limit)
}

// An account's channels are created one at a time, so that concurrent requests cannot
// exceed its quota.
const lockOwnerStatement = `
select pg_advisory_xact_lock(hashtextextended('talks.owner', $1))`

const countChannelsStatement = `
select count(*)
from   talks.channel
where  owner_id = $1`

const addChannelStatement = `
insert into talks.channel as c (slug, title, description, owner_id, owner_handle)
values ($1, $2, $3, $4, $5)
returning ` + channelColumns

// addChannel adds a channel. It fails with errTooManyChannels or errChannelExists.
func (s store) addChannel(ctx context.Context, c channel) (added channel, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, lockOwnerStatement, c.ownerID); err != nil {
			return err
		}
		count, _, err := postgres.One(ctx, tx, postgres.Value[int], countChannelsStatement, c.ownerID)
		if err != nil {
			return err
		}
		if count >= maxChannels {
			return errTooManyChannels
		}
		retired, err := s.isRetired(ctx, tx, c.slug)
		if err != nil {
			return err
		}
		if retired {
			return errChannelExists
		}
		added, _, err = postgres.One(ctx, tx, scanChannel, addChannelStatement, c.slug, c.title, c.description, c.ownerID, c.ownerHandle)
		if postgres.Violates(err, "channel_slug_key") {
			err = errChannelExists
		}
		return err
	})
	return added, err
}

// talkColumns are the columns of a complete talk; listColumns omits the description.
const talkColumns = `t.id, t.slug, t.title, t.speakers, t.tags, t.language, t.media_url, coalesce(t.duration_seconds, 0),
       coalesce(t.recorded_on::text, ''), t.published_at, t.updated_at, t.withdrawn_at is not null, t.description, t.recording, coalesce(t.number, 0), ` + channelColumns

func scanTalk(columns func(...any) error) (t talk, err error) {
	var seconds int64
	err = columns(append([]any{
		&t.id, &t.slug, &t.title, (*pq.StringArray)(&t.speakers), (*pq.StringArray)(&t.tags), &t.language, &t.mediaURL, &seconds,
		&t.recorded, &t.published, &t.updated, &t.withdrawn, &t.description, &t.recording, &t.number,
	}, t.channel.columns()...)...)
	t.duration = time.Duration(seconds) * time.Second
	return t, err
}

const talkStatement = `
select ` + talkColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  c.slug = $1
  and  t.slug = $2`

// talk returns a talk. It fails with errTalkNotFound or errWithdrawn.
func (s store) talk(ctx context.Context, channel, slug string) (talk, error) {
	t, found, err := postgres.One(ctx, s.db, scanTalk, talkStatement, channel, slug)
	switch {
	case err != nil:
		return t, err
	case !found:
		return t, errTalkNotFound
	case t.withdrawn:
		return t, errWithdrawn
	}
	return t, nil
}

const lockTalkStatement = talkStatement + `
for    no key update`

func (s store) lockTalk(ctx context.Context, tx *postgres.Tx, channel, slug string) (talk, error) {
	t, found, err := postgres.One(ctx, tx, scanTalk, lockTalkStatement, channel, slug)
	if err == nil && !found {
		err = errTalkNotFound
	}
	return t, err
}

// The update locks the channel's row until the commit, so that publication numbers ascend
// in commit order.
const addTalkStatement = `
with counted as (
    update talks.channel
    set    talk_count = talk_count + 1,
           published_count = published_count + 1
    where  id = $1
    returning published_count
), added as (
    insert into talks.talk (channel_id, slug, title, speakers, language, tags, media_url, duration_seconds, recorded_on, published_at, description, recording, number)
    select $1, $2, $3, $4, $5, $6, $7, $8, $9, now(), $10, $11, published_count
    from   counted
    on conflict (channel_id, slug) do nothing
    returning *
)
select ` + talkColumns + `
from   added t
join   talks.channel c on c.id = t.channel_id`

func (s store) addTalk(ctx context.Context, tx *postgres.Tx, t talk) (talk, error) {
	added, found, err := postgres.One(ctx, tx, scanTalk, addTalkStatement, t.channel.id, t.slug, t.title, pq.Array(t.speakers), t.language,
		pq.Array(t.tags), t.mediaURL, orNull(int64(t.duration/time.Second)), orNull(t.recorded), t.description, t.recording)
	if err == nil && !found {
		err = errTalkExists
	}
	return added, err
}

const publicationsStatement = `
select ` + talkColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.channel_id = $1
  and  t.number > $2
order by t.number
limit  $3`

func (s store) publications(ctx context.Context, channel, after int64, limit int) ([]talk, error) {
	return postgres.Collect(ctx, s.db, scanTalk, publicationsStatement, channel, after, limit)
}

// orNull returns null for the zero value, which stands for unknown.
func orNull[T comparable](v T) sql.Null[T] {
	var zero T
	return sql.Null[T]{V: v, Valid: v != zero}
}

const updateTalkStatement = `
update talks.talk
set    title = $2, speakers = $3, language = $4, tags = $5, media_url = $6,
       duration_seconds = $7, recorded_on = $8, description = $9, updated_at = now()
where  id = $1`

func (s store) updateTalk(ctx context.Context, tx *postgres.Tx, t talk) error {
	_, err := postgres.Exec(ctx, tx, updateTalkStatement, t.id, t.title, pq.Array(t.speakers), t.language,
		pq.Array(t.tags), t.mediaURL, orNull(int64(t.duration/time.Second)), orNull(t.recorded), t.description)
	return err
}

const withdrawTalkStatement = `
with withdrawn as (
    update talks.talk
    set    withdrawn_at = now()
    where  id = $1
)
update talks.channel
set    talk_count = talk_count - 1
where  id = $2`

func (s store) withdrawTalk(ctx context.Context, tx *postgres.Tx, t talk) error {
	_, err := postgres.Exec(ctx, tx, withdrawTalkStatement, t.id, t.channel.id)
	return err
}

const talkOfRequestStatement = `
select ` + talkColumns + `
from   talks.request r
join   talks.talk t on t.id = r.talk_id
join   talks.channel c on c.id = t.channel_id
where  r.account_id = $1
  and  r.id = $2`

func (s store) talkOfRequest(ctx context.Context, tx *postgres.Tx, account int64, requestID string) (talk, bool, error) {
	return postgres.One(ctx, tx, scanTalk, talkOfRequestStatement, account, requestID)
}

const addRequestStatement = `
insert into talks.request (account_id, id, talk_id)
values ($1, $2, $3)`

func (s store) addRequest(ctx context.Context, tx *postgres.Tx, account int64, requestID string, talkID int64) error {
	_, err := postgres.Exec(ctx, tx, addRequestStatement, account, requestID, talkID)
	if postgres.Violates(err, "request_pkey") {
		// The lock on the channel does not cover a concurrent request on another channel.
		err = postgres.ErrContended.Because(errors.New("the same request id on two channels"))
	}
	return err
}

const removeRequestsStatement = `
delete from talks.request
where  (account_id, id) in (select account_id, id
                            from   talks.request
                            where  created_at <= now() - make_interval(secs => $1)
                            limit  $2
                            for    update skip locked)`

// removeRequests deletes up to limit requests older than age and returns their number.
func (s store) removeRequests(ctx context.Context, age time.Duration, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeRequestsStatement, age.Seconds(), limit)
}

// A loose index scan: one step per language, however many talks it has.
const languagesStatement = `
with recursive language as (
    (select language
     from   talks.talk
     where  withdrawn_at is null and language > ''
     order by language
     limit  1)
    union all
    select (select t.language
            from   talks.talk t
            where  t.withdrawn_at is null and t.language > l.language
            order by t.language
            limit  1)
    from   language l
    where  l.language is not null
)
select language
from   language
where  language is not null`

func (s store) languages(ctx context.Context) ([]string, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[string], languagesStatement)
}
