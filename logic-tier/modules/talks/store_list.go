package talks

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/pagetoken"
	"techtalks.example/logic-tier/platform/postgres"
)

// listColumns are the columns of a talk in a list.
const listColumns = `t.id, t.slug, t.title, t.speakers, t.tags, t.language, t.media_url, coalesce(t.duration_seconds, 0),
       coalesce(t.recorded_on::text, ''), t.published_at`

func (l *listedTalk) columns(seconds *int64) []any {
	return []any{
		&l.id, &l.slug, &l.title, (*pq.StringArray)(&l.speakers), (*pq.StringArray)(&l.tags), &l.language, &l.mediaURL, seconds,
		&l.recorded, &l.published,
	}
}

// A channel and its latest talks in one statement: one row per talk, or a single row
// without a talk for an empty channel.
const channelTalksStatement = `
select ` + channelColumns + `, t.*
from   talks.channel c
left join lateral (
    select ` + listColumns + `
    from   talks.talk t
    where  t.channel_id = c.id
      and  t.withdrawn_at is null
      and  (t.published_at, t.id) < ($2, $3)
    order by t.published_at desc, t.id desc
    limit  $4
) t on true
where  c.slug = $1`

const channelTalksBackStatement = `
select ` + channelColumns + `, t.*
from   talks.channel c
left join lateral (
    select ` + listColumns + `
    from   talks.talk t
    where  t.channel_id = c.id
      and  t.withdrawn_at is null
      and  (t.published_at, t.id) > ($2, $3)
    order by t.published_at, t.id
    limit  $4
) t on true
where  c.slug = $1`

// farFuture is later than every publish time.
var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// channelTalks returns a channel and a page of its talks. It fails with
// errChannelNotFound.
func (s store) channelTalks(ctx context.Context, slug string, cursor *pagetoken.Token[talkKey], limit int) (c channel, talks []listedTalk, err error) {
	start, statement := talkKey{Published: farFuture}, channelTalksStatement
	if cursor != nil {
		start = cursor.Key
		if cursor.Backward {
			statement = channelTalksBackStatement
		}
	}
	// The talk columns of an empty channel are null. The destinations are allocated once
	// and reused for every row, since this is the most frequent query.
	var (
		id, seconds               sql.NullInt64
		talkSlug, title, language sql.NullString
		url, recorded             sql.NullString
		speakers, tags            pq.StringArray
		published                 sql.NullTime
	)
	dest := append(c.columns(), &id, &talkSlug, &title, &speakers, &tags, &language, &url, &seconds, &recorded, &published)
	found := false
	talks = make([]listedTalk, 0, limit)
	_, err = postgres.Collect(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		if err := columns(dest...); err != nil {
			return struct{}{}, err
		}
		found = true
		if id.Valid {
			talks = append(talks, listedTalk{talk: talk{
				id: id.Int64, slug: talkSlug.String, title: title.String, speakers: speakers, tags: tags, language: language.String, mediaURL: url.String,
				duration: time.Duration(seconds.Int64) * time.Second, recorded: recorded.String, published: published.Time,
			}})
		}
		return struct{}{}, nil
	}, statement, slug, start.Published, start.ID, limit)
	for i := range talks {
		talks[i].channel = c
	}
	if err == nil && !found {
		err = errChannelNotFound
	}
	return c, talks, err
}

// listStatement returns the statement for a list of talks. Its text depends only on which
// filters are set and on the direction, so there are 32 statements, each with its own
// plan.
func listStatement(search, channel, language, tag, backward bool) string {
	order, comparison := "desc", "<"
	if backward {
		order, comparison = "asc", ">"
	}
	var b strings.Builder
	if search {
		b.WriteString(`
with best as (
    select f.talk_id, ts_rank(f.vector, q.query)::double precision as rank
    from   websearch_to_tsquery('talks.words', $5) q (query)
    join   talks.found f on f.vector @@ q.query`)
		if channel || language || tag {
			b.WriteString(`
    join   talks.talk t on t.id = f.talk_id`)
		}
		b.WriteString(`
    where  (ts_rank(f.vector, q.query)::double precision, f.talk_id) ` + comparison + ` ($1, $2)
      and  $3::timestamptz is not null`)
		writeConditions(&b, "    ", channel, language, tag)
		b.WriteString(`
    order by rank ` + order + `, f.talk_id ` + order + `
    limit  $4
)
select ` + listColumns + `, c.slug, c.title, b.rank
from   best b
join   talks.talk t on t.id = b.talk_id
join   talks.channel c on c.id = t.channel_id
order by b.rank ` + order + `, t.id ` + order)
		return b.String()
	}
	b.WriteString(`
select ` + listColumns + `, c.slug, c.title, $1::double precision * 0
from   talks.talk t
join   talks.channel c on c.id = t.channel_id
where  t.withdrawn_at is null
  and  (t.published_at, t.id) ` + comparison + ` ($3, $2)
  and  $5 = ''`)
	writeConditions(&b, "", channel, language, tag)
	b.WriteString(`
order by t.published_at ` + order + `, t.id ` + order + `
limit  $4`)
	return b.String()
}

// writeConditions writes the conditions of the filters that are set. Every statement
// takes the same parameters and must use all of them, so an unset filter gets a condition
// that always holds.
func writeConditions(b *strings.Builder, indent string, channel, language, tag bool) {
	for _, c := range []struct {
		set              bool
		condition, unset string
	}{
		{channel, "t.channel_id = $6", "$6::bigint = 0"},
		{language, "t.language = $7", "$7 = ''"},
		{tag, "t.tags @> array[$8]", "$8 = ''"},
	} {
		condition := c.unset
		if c.set {
			condition = c.condition
		}
		b.WriteString("\n" + indent + "  and  " + condition)
	}
}

// talks returns a page of the talks that a filter selects; channelID is 0 for all
// channels.
func (s store) talks(ctx context.Context, f filter, channelID int64, cursor *pagetoken.Token[talkKey], limit int) ([]listedTalk, error) {
	start := talkKey{Published: farFuture, Rank: math.MaxFloat64}
	backward := false
	if cursor != nil {
		start, backward = cursor.Key, cursor.Backward
	}
	statement := listStatement(f.query != "", channelID != 0, f.language != "", f.tag != "", backward)
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (l listedTalk, err error) {
		var seconds int64
		err = columns(append(l.columns(&seconds), &l.channel.slug, &l.channel.title, &l.rank)...)
		l.duration = time.Duration(seconds) * time.Second
		return l, err
	}, statement, start.Rank, start.ID, start.Published, limit, f.query, channelID, f.language, f.tag)
}
