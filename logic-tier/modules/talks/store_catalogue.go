package talks

import (
	"context"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/pagetoken"
	"techtalks.example/logic-tier/platform/postgres"
)

const importChannelsStatement = `
insert into talks.channel (slug, title, description, owner_id, owner_handle)
select slug, coalesce(nullif(title, ''), slug), description, nullif($2::bigint, 0), $3
from   jsonb_to_recordset($1::jsonb) as new (slug text, title text, description text)
where  not exists (select
                   from   talks.retired_channel r
                   where  r.slug = new.slug)
order by slug
on conflict (slug) do nothing`

const retitleChannelsStatement = `
update talks.channel c
set    title = new.title
from   jsonb_to_recordset($1::jsonb) as new (slug text, title text)
where  c.slug = new.slug
  and  c.owner_id is null
  and  new.title <> ''
  and  new.title <> c.title`

// A catalogue's talks are listed where they belong in time, not as news: 16,000 old
// talks must not bury what people publish today. The time comes from the
// importer, so it is at most the time of the import; a talk without one is listed
// as published by the import.
const importTalksStatement = `
with added as (
    insert into talks.talk (channel_id, slug, title, speakers, language, tags, media_url, duration_seconds, recorded_on, published_at, description)
    select c.id, new.slug, new.title, new.speakers, new.language, new.tags, new.media_url, new.seconds, new.recorded,
           least(new.published, now()), new.description
    from   jsonb_to_recordset($1::jsonb) as new (channel text, slug text, title text, speakers text[], language text, tags text[],
                                                 media_url text, seconds integer, recorded date, published timestamptz, description text)
    join   talks.channel c on c.slug = new.channel and c.owner_id is not distinct from nullif($2::bigint, 0)
    on conflict (channel_id, slug) do nothing
    returning channel_id
), counted as (
    update talks.channel c
    set    talk_count = c.talk_count + n.talks
    from   (select channel_id, count(*) as talks from added group by channel_id) n
    where  c.id = n.channel_id
)
select count(*)
from   added`

func (s store) importRows(ctx context.Context, tx *postgres.Tx, owner caller.Person, channelsJSON, talksJSON []byte) (channels, talks int64, err error) {
	if channels, err = postgres.Exec(ctx, tx, importChannelsStatement, string(channelsJSON), owner.ID, owner.Handle); err != nil {
		return 0, 0, err
	}
	if _, err = postgres.Exec(ctx, tx, retitleChannelsStatement, string(channelsJSON)); err != nil {
		return 0, 0, err
	}
	talks, _, err = postgres.One(ctx, tx, postgres.Value[int64], importTalksStatement, string(talksJSON), owner.ID)
	return channels, talks, err
}

const batchStatement = `
select channels_created, talks_created
from   talks.batch
where  id = $1`

// batch returns what came of a batch that was added already.
func (s store) batch(ctx context.Context, tx *postgres.Tx, id string) (channels, talks int64, found bool, err error) {
	_, found, err = postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&channels, &talks)
	}, batchStatement, id)
	return channels, talks, found, err
}

const noteBatchStatement = `
insert into talks.batch (id, channels_created, talks_created)
values ($1, $2, $3)`

func (s store) noteBatch(ctx context.Context, tx *postgres.Tx, id string, channels, talks int64) error {
	_, err := postgres.Exec(ctx, tx, noteBatchStatement, id, channels, talks)
	if postgres.Violates(err, "batch_pkey") {
		// By two workers at the same moment: one of them is to find it there.
		err = postgres.ErrContended.Because(err)
	}
	return err
}

const removeBatchesStatement = `
delete from talks.batch
where  id in (select id
              from   talks.batch
              where  created_at <= now() - make_interval(secs => $1)
              limit  $2
              for    update skip locked)`

// removeBatches removes at most so many batches of that age, and says how many.
func (s store) removeBatches(ctx context.Context, age time.Duration, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeBatchesStatement, age.Seconds(), most)
}

const channelsThereStatement = `
select slug
from   talks.channel
where  slug = any($1)`

// lockChannelsOf returns how many channels an account has, and which of those
// named are there, whosever they are; until the transaction ends, the account
// gets no other.
func (s store) lockChannelsOf(ctx context.Context, tx *postgres.Tx, owner int64, slugs []string) (has int, there map[string]bool, err error) {
	if _, err := postgres.Exec(ctx, tx, lockOwnerStatement, owner); err != nil {
		return 0, nil, err
	}
	if has, _, err = postgres.One(ctx, tx, postgres.Value[int], countChannelsStatement, owner); err != nil {
		return 0, nil, err
	}
	found, err := postgres.Collect(ctx, tx, postgres.Value[string], channelsThereStatement, pq.Array(slugs))
	there = map[string]bool{}
	for _, slug := range found {
		there[slug] = true
	}
	return has, there, err
}

const channelsOfStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.owner_id = $1
order by c.id`

func (s store) channelsOf(ctx context.Context, owner int64) ([]channel, error) {
	return postgres.Collect(ctx, s.db, scanChannel, channelsOfStatement, owner)
}

const wholeTalksStatement = `
select ` + wholeColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.channel_id = $1
  and  t.withdrawn_at is null
  and  t.slug > $2
order by t.slug
limit  $3`

// slugEdge is a talk's place among a channel's by name.
type slugEdge struct {
	Slug string `json:"s"`
}

func (t talk) slugEdge() slugEdge { return slugEdge{t.slug} }

func (s store) wholeTalks(ctx context.Context, within int64, from *pagetoken.Token[slugEdge], most int) ([]talk, error) {
	var after string
	if from != nil {
		after = from.Key.Slug
	}
	return postgres.Collect(ctx, s.db, scanTalk, wholeTalksStatement, within, after, most)
}
