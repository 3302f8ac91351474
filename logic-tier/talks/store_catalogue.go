package talks

import (
	"context"

	"techtalks.example/logic-tier/postgres"
)

const importChannelsStatement = `
insert into talks.channel (slug, title, description)
select slug, coalesce(nullif(title, ''), slug), description
from   jsonb_to_recordset($1::jsonb) as new (slug text, title text, description text)
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

const importTalksStatement = `
with added as (
    insert into talks.talk (channel_id, slug, title, speakers, language, tags, media_url, duration_seconds, recorded_on, published_at, description)
    select c.id, new.slug, new.title, new.speakers, new.language, new.tags, new.media_url, new.seconds, new.recorded,
           coalesce(new.published, now()), new.description
    from   jsonb_to_recordset($1::jsonb) as new (channel text, slug text, title text, speakers text[], language text, tags text[],
                                                 media_url text, seconds integer, recorded date, published timestamptz, description text)
    join   talks.channel c on c.slug = new.channel and c.owner_id is null
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

func (s store) importRows(ctx context.Context, tx *postgres.Tx, channelsJSON, talksJSON []byte) (channels, talks int64, err error) {
	if channels, err = postgres.Exec(ctx, tx, importChannelsStatement, string(channelsJSON)); err != nil {
		return 0, 0, err
	}
	if _, err = postgres.Exec(ctx, tx, retitleChannelsStatement, string(channelsJSON)); err != nil {
		return 0, 0, err
	}
	talks, _, err = postgres.One(ctx, tx, postgres.Value[int64], importTalksStatement, string(talksJSON))
	return channels, talks, err
}
