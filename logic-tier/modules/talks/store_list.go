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

// listColumns are those of a talk in a list.
const listColumns = `t.id, t.slug, t.title, t.speakers, t.tags, t.language, t.media_url, coalesce(t.duration_seconds, 0),
       coalesce(t.recorded_on::text, ''), t.published_at`

func (l *listed) columns(seconds *int64) []any {
	return []any{
		&l.id, &l.slug, &l.title, (*pq.StringArray)(&l.speakers), (*pq.StringArray)(&l.tags), &l.language, &l.mediaURL, seconds,
		&l.recorded, &l.published,
	}
}

// A channel and its latest talks in one statement: a row a talk, or one row
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

// farFuture lies behind every talk, in time.
var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (s store) channelTalks(ctx context.Context, of string, from *pagetoken.Token[edge], most int) (c channel, talks []listed, err error) {
	at, statement := edge{Published: farFuture}, channelTalksStatement
	if from != nil {
		at = from.Key
		if from.Backward {
			statement = channelTalksBackStatement
		}
	}
	// Of an empty channel the talk's columns are null. They are named once, and
	// scanned into row by row: this is what most pages are made of.
	var (
		id, seconds               sql.NullInt64
		slug, title, language, on sql.NullString
		url                       sql.NullString
		speakers, tags            pq.StringArray
		published                 sql.NullTime
	)
	into := append(c.columns(), &id, &slug, &title, &speakers, &tags, &language, &url, &seconds, &on, &published)
	found := false
	talks = make([]listed, 0, most)
	_, err = postgres.Collect(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		if err := columns(into...); err != nil {
			return struct{}{}, err
		}
		found = true
		if id.Valid {
			talks = append(talks, listed{talk: talk{
				id: id.Int64, slug: slug.String, title: title.String, speakers: speakers, tags: tags, language: language.String, mediaURL: url.String,
				duration: time.Duration(seconds.Int64) * time.Second, recorded: on.String, published: published.Time,
			}})
		}
		return struct{}{}, nil
	}, statement, of, at.Published, at.ID, most)
	for i := range talks {
		talks[i].channel = c
	}
	if err == nil && !found {
		err = errNoChannel
	}
	return c, talks, err
}

// listStatement returns the statement for a list of several channels' talks.
// Its text depends on what is filtered alone, so there are 32 of them and each
// has a plan of its own.
func listStatement(search, within, language, tag, backward bool) string {
	order, than := "desc", "<"
	if backward {
		order, than = "asc", ">"
	}
	var b strings.Builder
	if search {
		b.WriteString(`
with best as (
    select f.talk_id, ts_rank(f.vector, q.query)::double precision as rank
    from   websearch_to_tsquery('talks.words', $5) q (query)
    join   talks.found f on f.vector @@ q.query`)
		if within || language || tag {
			b.WriteString(`
    join   talks.talk t on t.id = f.talk_id`)
		}
		b.WriteString(`
    where  (ts_rank(f.vector, q.query)::double precision, f.talk_id) ` + than + ` ($1, $2)
      and  $3::timestamptz is not null`)
		conditions(&b, "    ", within, language, tag)
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
  and  (t.published_at, t.id) ` + than + ` ($3, $2)
  and  $5 = ''`)
	conditions(&b, "", within, language, tag)
	b.WriteString(`
order by t.published_at ` + order + `, t.id ` + order + `
limit  $4`)
	return b.String()
}

// conditions adds what is filtered by. Every statement takes the same
// parameters, so those it does not look at are looked at here, for nothing.
func conditions(b *strings.Builder, indent string, within, language, tag bool) {
	for _, c := range []struct {
		used       bool
		test, idle string
	}{
		{within, "t.channel_id = $6", "$6::bigint = 0"},
		{language, "t.language = $7", "$7 = ''"},
		{tag, "t.tags @> array[$8]", "$8 = ''"},
	} {
		test := c.idle
		if c.used {
			test = c.test
		}
		b.WriteString("\n" + indent + "  and  " + test)
	}
}

func (s store) talks(ctx context.Context, f filter, within int64, from *pagetoken.Token[edge], most int) ([]listed, error) {
	at := edge{Published: farFuture, Rank: math.MaxFloat64}
	backward := false
	if from != nil {
		at, backward = from.Key, from.Backward
	}
	statement := listStatement(f.query != "", within != 0, f.language != "", f.tag != "", backward)
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (l listed, err error) {
		var seconds int64
		err = columns(append(l.columns(&seconds), &l.channel.slug, &l.channel.title, &l.rank)...)
		l.duration = time.Duration(seconds) * time.Second
		return l, err
	}, statement, at.Rank, at.ID, at.Published, most, f.query, within, f.language, f.tag)
}
