package talks

import (
	"context"
	"encoding/json"
	"time"

	"techtalks.example/logic-tier/failure"
	"techtalks.example/logic-tier/postgres"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// importedChannel and importedTalk are rows of a catalogue, as JSON: one
// parameter a batch, however many rows.
type importedChannel struct {
	Slug        string `json:"slug"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

type importedTalk struct {
	Channel     string     `json:"channel"`
	Slug        string     `json:"slug"`
	Title       string     `json:"title"`
	Speakers    []string   `json:"speakers"`
	Language    string     `json:"language"`
	Tags        []string   `json:"tags"`
	MediaURL    string     `json:"media_url"`
	Seconds     int64      `json:"seconds,omitempty"`
	Recorded    string     `json:"recorded,omitempty"`
	Published   *time.Time `json:"published,omitempty"`
	Description string     `json:"description"`
}

// importBatch adds what is not there yet; nobody is told. Talks for a channel
// that belongs to somebody are not added.
func (m *Module) importBatch(ctx context.Context, r *talkspb.BatchImportTalksRequest) (channels, talks int64, err error) {
	refused := failure.New(failure.Invalid, "FIELDS_INVALID", "some of the batch cannot be taken")
	refuse := func(err error) {
		if f, ok := err.(*failure.Failure); ok {
			refused.Violations = append(refused.Violations, f.Violations...)
		}
	}
	newChannels := make([]importedChannel, 0, len(r.Channels))
	for i, c := range r.Channels {
		slug, err := parseChannel(index("channels", i, "name"), c.Name)
		if err != nil {
			refuse(err)
			continue
		}
		newChannels = append(newChannels, importedChannel{slug, c.Title, c.Description})
	}
	newTalks := make([]importedTalk, 0, len(r.Talks))
	for i, t := range r.Talks {
		channel, slug, err := parseTalk(index("talks", i, "name"), t.Name)
		if err != nil {
			refuse(err)
			continue
		}
		normal, err := fromMessage(t).normal()
		if err != nil {
			refused.Violations = append(refused.Violations, failure.Violation{Field: index("talks", i, "title"), Description: err.Error()})
			continue
		}
		row := importedTalk{
			Channel: channel, Slug: slug, Title: normal.title, Speakers: normal.speakers, Language: normal.language, Tags: normal.tags,
			MediaURL: normal.mediaURL, Seconds: int64(normal.duration / time.Second), Recorded: normal.recorded, Description: normal.description,
		}
		if t.PublishTime != nil {
			at := t.PublishTime.AsTime()
			row.Published = &at
		}
		newTalks = append(newTalks, row)
	}
	if len(refused.Violations) > 0 {
		return 0, 0, refused
	}
	channelsJSON, err := json.Marshal(newChannels)
	if err != nil {
		return 0, 0, err
	}
	talksJSON, err := json.Marshal(newTalks)
	if err != nil {
		return 0, 0, err
	}
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		channels, talks, err = m.store.importRows(ctx, tx, channelsJSON, talksJSON)
		return err
	})
	return channels, talks, err
}

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
