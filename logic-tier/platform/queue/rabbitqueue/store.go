package rabbitqueue

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// putInOutbox runs as the module's own role, in the module's own transaction.
const putInOutboxStatement = `
select queue.put_in_outbox($1, $2, $3, $4, $5, $6, $7, $8)`

func putInOutbox(ctx context.Context, in postgres.Querier, e queue.Encoded) (id int64, err error) {
	id, _, err = postgres.One(ctx, in, postgres.Value[int64], putInOutboxStatement,
		e.Exchange, e.RoutingKey, e.Type, e.Traceparent, e.Body, e.HeadersJSON, e.Priority, e.Delay.Seconds())
	return id, err
}

// Where a row of a message is still in the outbox, because it was shipped and its
// deletion is to come, it becomes this one. Its time tells the two apart, so that
// the deletion misses it.
const onWayAgain = `
on conflict (id, queue) do update
set    available_at   = greatest(excluded.available_at, o.available_at + interval '1 microsecond'),
       delivery_count = excluded.delivery_count,
       history        = excluded.history`

const putBackStatement = `
insert into queue.outbox as o (id, queue, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select id, queue, now() + make_interval(secs => $1), delivery_count, to_timestamp(published), exchange, routing_key, type, traceparent, headers, history, body
from   unnest($2::bigint[], $3::text[], $4::integer[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::jsonb[], $12::bytea[])
       as m (id, queue, delivery_count, published, exchange, routing_key, type, traceparent, headers, history, body)` + onWayAgain

// putBack puts messages into the outbox for their own queues, with so many
// deliveries counted and not before the pause is over.
func putBack(ctx context.Context, db *postgres.DB, messages []*message, count func(*message) int, pause time.Duration) error {
	var (
		ids, counts                            []int64
		published                              []float64
		queues, exchanges, keys, types, traces []string
		headers, histories                     []sql.NullString
		bodies                                 [][]byte
		seen                                   = map[int64]bool{}
	)
	for _, m := range messages {
		if seen[m.ID] {
			continue // the same twice in one statement is an error; once is enough
		}
		seen[m.ID] = true
		ids, counts, published = append(ids, m.ID), append(counts, int64(count(m))), append(published, float64(m.Published.UnixMicro())/1e6)
		queues, exchanges, keys = append(queues, m.kept), append(exchanges, clean(m.Exchange)), append(keys, clean(m.RoutingKey))
		types, traces, bodies = append(types, clean(m.Type)), append(traces, clean(m.Traceparent)), append(bodies, m.Body)
		var header, history sql.NullString
		if len(m.Headers) > 0 {
			header = sql.NullString{String: string(ledger.JSON(cleaned(m.Headers))), Valid: true}
		}
		if len(m.history) > 0 {
			history = sql.NullString{String: string(ledger.JSON(m.history)), Valid: true}
		}
		headers, histories = append(headers, header), append(histories, history)
	}
	_, err := postgres.Exec(ctx, db, putBackStatement, pause.Seconds(), pq.Array(ids), pq.Array(queues), pq.Array(counts), pq.Array(published),
		pq.Array(exchanges), pq.Array(keys), pq.Array(types), pq.Array(traces), pq.Array(headers), pq.Array(histories), pq.ByteaArray(bodies))
	return err
}

const redriveStatement = `
with letter as (
    delete from queue.dead_letter d
    where  d.queue = $1
      and  ($2 or d.id = any($3))
      and  ($1 = '' or exists (select from queue.queue q where q.name = $1 and q.expires_at is null))
    returning d.*
)
insert into queue.outbox as o (id, queue, available_at, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select id, queue, queue.due(0), published_at, exchange, routing_key, type, traceparent, headers, history, body
from   letter` + onWayAgain

// redrive puts dead letters into the outbox, as if they had not been delivered
// yet: those of a queue for this queue, and those that no binding matched for
// their exchange.
func redrive(ctx context.Context, db *postgres.DB, name string, ids []int64) (int, error) {
	n, err := postgres.Exec(ctx, db, redriveStatement, name, len(ids) == 0, pq.Array(ids))
	return int(n), err
}

const nextIDStatement = `
select queue.next_id(0)`

// nextID returns an id for a message that came with none.
func nextID(ctx context.Context, db *postgres.DB) (int64, error) {
	id, _, err := postgres.One(ctx, db, postgres.Value[int64], nextIDStatement)
	return id, err
}

const deliveryLimitStatement = `
select delivery_limit
from   queue.queue
where  name = $1
  and  expires_at is null`

func deliveryLimit(ctx context.Context, db *postgres.DB, name string) (limit int, found bool, err error) {
	return postgres.One(ctx, db, postgres.Value[int], deliveryLimitStatement, name)
}

const topologyStatement = `
select name, type, '', '', null::jsonb, false
from   queue.exchange
union all
select '', '', name, '', null, false
from   queue.queue
where  expires_at is null
union all
select b.exchange, '', q.name, b.pattern, b.headers, b.any_header
from   queue.binding b
join   queue.queue q on q.id = b.queue_id
where  q.expires_at is null`

// topologyLine is an exchange, a queue, or a binding of one to the other.
type topologyLine struct {
	exchange, of, queue, pattern string
	headers                      []byte
	anyHeader                    bool
}

// topology returns all that the ledger has declared.
func topology(ctx context.Context, db *postgres.DB) (t queue.Topology, err error) {
	lines, err := postgres.Collect(ctx, db, func(columns func(...any) error) (l topologyLine, err error) {
		err = columns(&l.exchange, &l.of, &l.queue, &l.pattern, &l.headers, &l.anyHeader)
		return l, err
	}, topologyStatement)
	if err != nil {
		return t, err
	}
	bindings := map[string][]queue.Binding{}
	for _, l := range lines {
		switch {
		case l.queue == "":
			t.Exchanges = append(t.Exchanges, queue.Exchange{Name: l.exchange, Type: queue.ExchangeType(l.of)})
		case l.exchange == "":
			t.Queues = append(t.Queues, queue.Queue{Name: l.queue})
		default:
			b := queue.Binding{Exchange: l.exchange, Pattern: l.pattern, AnyHeader: l.anyHeader}
			if l.headers != nil {
				if err := json.Unmarshal(l.headers, &b.Headers); err != nil {
					return t, err
				}
			}
			bindings[l.queue] = append(bindings[l.queue], b)
		}
	}
	for i := range t.Queues {
		t.Queues[i].Bindings = bindings[t.Queues[i].Name]
	}
	return t, nil
}

const depthsStatement = `
select queue, count(*) filter (where available_at <= now()), count(*) filter (where available_at > now()), coalesce(min(published_at), 'epoch')
from   queue.outbox
where  queue <> ''
group by queue
union all
select q.name, 0, sum(l.count)::bigint, min(l.oldest)
from  (select exchange, routing_key, headers, count(*) as count, min(published_at) as oldest
       from   queue.outbox
       where  queue = ''
         and  available_at > now()
       group by exchange, routing_key, headers) l
cross join queue.route(l.exchange, l.routing_key, l.headers) as r (queue_id)
join   queue.queue q on q.id = r.queue_id
group by q.name`

type depth struct {
	name string
	queue.Depth
}

// depths returns what the outbox has for each queue: messages that failed or were
// dead letters, and those whose delay is not over.
func depths(ctx context.Context, db *postgres.DB) ([]depth, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d depth, err error) {
		err = columns(&d.name, &d.Ready, &d.Delayed, &d.Oldest)
		return d, err
	}, depthsStatement)
}
