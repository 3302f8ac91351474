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

// Imported talks are listed by their original publish time: 16,000 old talks must not
// bury those published today. The time comes from the catalogue, so it is capped at the
// time of the import. A talk without one gets the time of the import.
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

// importRows adds the channels and talks that do not exist yet and returns their numbers.
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

// batch returns the result of a batch that has already been imported.
func (s store) batch(ctx context.Context, tx *postgres.Tx, id string) (channels, talks int64, found bool, err error) {
	_, found, err = postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&channels, &talks)
	}, batchStatement, id)
	return channels, talks, found, err
}

const addBatchStatement = `
insert into talks.batch (id, channels_created, talks_created)
values ($1, $2, $3)`

func (s store) addBatch(ctx context.Context, tx *postgres.Tx, id string, channels, talks int64) error {
	_, err := postgres.Exec(ctx, tx, addBatchStatement, id, channels, talks)
	if postgres.Violates(err, "batch_pkey") {
		// Another worker imported the batch concurrently; a retry finds its result.
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

// removeBatches deletes up to limit batches older than age and returns their number.
func (s store) removeBatches(ctx context.Context, age time.Duration, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeBatchesStatement, age.Seconds(), limit)
}

const existingSlugsStatement = `
select slug
from   talks.channel
where  slug = any($1)`

// lockChannelsOf returns the number of channels that an account owns, and which of the
// slugs exist, whatever their owner. Until the transaction ends, no other one can create
// channels for the account.
func (s store) lockChannelsOf(ctx context.Context, tx *postgres.Tx, owner int64, slugs []string) (count int, existing map[string]bool, err error) {
	if _, err := postgres.Exec(ctx, tx, lockOwnerStatement, owner); err != nil {
		return 0, nil, err
	}
	if count, _, err = postgres.One(ctx, tx, postgres.Value[int], countChannelsStatement, owner); err != nil {
		return 0, nil, err
	}
	found, err := postgres.Collect(ctx, tx, postgres.Value[string], existingSlugsStatement, pq.Array(slugs))
	existing = map[string]bool{}
	for _, slug := range found {
		existing[slug] = true
	}
	return count, existing, err
}

const channelsOfStatement = `
select ` + channelColumns + `
from   talks.channel c
where  c.owner_id = $1
order by c.id`

func (s store) channelsOf(ctx context.Context, owner int64) ([]channel, error) {
	return postgres.Collect(ctx, s.db, scanChannel, channelsOfStatement, owner)
}

const talksBySlugStatement = `
select ` + talkColumns + `
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.channel_id = $1
  and  t.withdrawn_at is null
  and  t.slug > $2
order by t.slug
limit  $3`

// slugKey is a talk's sort key in the list of a channel's talks by slug.
type slugKey struct {
	Slug string `json:"s"`
}

func (t talk) slugKey() slugKey { return slugKey{t.slug} }

func (s store) talksBySlug(ctx context.Context, channelID int64, cursor *pagetoken.Token[slugKey], limit int) ([]talk, error) {
	var after string
	if cursor != nil {
		after = cursor.Key.Slug
	}
	return postgres.Collect(ctx, s.db, scanTalk, talksBySlugStatement, channelID, after, limit)
}
