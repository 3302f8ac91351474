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

// Runs with the role and in the transaction of the module that publishes.
const putInOutboxStatement = `
select queue.put_in_outbox($1, $2, $3, $4, $5, $6, $7, $8)`

func putInOutbox(ctx context.Context, tx postgres.Querier, e queue.Encoded) (id int64, err error) {
	id, _, err = postgres.One(ctx, tx, postgres.Value[int64], putInOutboxStatement,
		e.Exchange, e.RoutingKey, e.Type, e.Traceparent, e.Body, e.HeadersJSON, e.Priority, e.Delay.Seconds())
	return id, err
}

// If the outbox still has the message's previous row, which was shipped and not
// deleted yet, the insert replaces it. available_at then differs from the shipped
// row's, so that the pending deletion does not match.
const replaceShippedRow = `
on conflict (id, queue) do update
set    available_at   = greatest(excluded.available_at, o.available_at + interval '1 microsecond'),
       delivery_count = excluded.delivery_count,
       history        = excluded.history`

const requeueStatement = `
insert into queue.outbox as o (id, queue, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select id, queue, now() + make_interval(secs => $1), delivery_count, to_timestamp(published), exchange, routing_key, type, traceparent, headers, history, body
from   unnest($2::bigint[], $3::text[], $4::integer[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::jsonb[], $12::bytea[])
       as m (id, queue, delivery_count, published, exchange, routing_key, type, traceparent, headers, history, body)` + replaceShippedRow

// requeue puts messages into the outbox, addressed to their own queues and due after
// pause. deliveries returns a message's delivery count.
func requeue(ctx context.Context, db *postgres.DB, messages []*message, deliveries func(*message) int, pause time.Duration) error {
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
			continue // an upsert cannot change the same row twice
		}
		seen[m.ID] = true
		ids, counts, published = append(ids, m.ID), append(counts, int64(deliveries(m))), append(published, float64(m.Published.UnixMicro())/1e6)
		queues, exchanges, keys = append(queues, m.queueName), append(exchanges, sanitize(m.Exchange)), append(keys, sanitize(m.RoutingKey))
		types, traces, bodies = append(types, sanitize(m.Type)), append(traces, sanitize(m.Traceparent)), append(bodies, m.Body)
		var header, history sql.NullString
		if len(m.Headers) > 0 {
			header = sql.NullString{String: string(ledger.JSON(sanitizeHeaders(m.Headers))), Valid: true}
		}
		if len(m.history) > 0 {
			history = sql.NullString{String: string(ledger.JSON(m.history)), Valid: true}
		}
		headers, histories = append(headers, header), append(histories, history)
	}
	_, err := postgres.Exec(ctx, db, requeueStatement, pause.Seconds(), pq.Array(ids), pq.Array(queues), pq.Array(counts), pq.Array(published),
		pq.Array(exchanges), pq.Array(keys), pq.Array(types), pq.Array(traces), pq.Array(headers), pq.Array(histories), pq.ByteaArray(bodies))
	return err
}

const redriveStatement = `
with redriven as (
    delete from queue.dead_letter d
    where  d.queue = $1
      and  ($2 or d.id = any($3))
      and  ($1 = '' or exists (select from queue.queue q where q.name = $1 and q.expires_at is null))
    returning d.*
)
insert into queue.outbox as o (id, queue, available_at, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select id, queue, queue.due(0), published_at, exchange, routing_key, type, traceparent, headers, history, body
from   redriven` + replaceShippedRow

// redrive moves dead letters into the outbox with a delivery count of zero. Those of
// a queue are addressed to that queue; those that no binding matched are published
// to their exchange again.
func redrive(ctx context.Context, db *postgres.DB, name string, ids []int64) (int, error) {
	n, err := postgres.Exec(ctx, db, redriveStatement, name, len(ids) == 0, pq.Array(ids))
	return int(n), err
}

const nextIDStatement = `
select queue.next_id(0)`

// nextID returns an id for a message without one.
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

// topologyRow is an exchange, a queue, or a binding between the two.
type topologyRow struct {
	exchange, exchangeType, queue, pattern string
	headers                                []byte
	anyHeader                              bool
}

// loadTopology returns the topology in the ledger.
func loadTopology(ctx context.Context, db *postgres.DB) (t queue.Topology, err error) {
	rows, err := postgres.Collect(ctx, db, func(columns func(...any) error) (r topologyRow, err error) {
		err = columns(&r.exchange, &r.exchangeType, &r.queue, &r.pattern, &r.headers, &r.anyHeader)
		return r, err
	}, topologyStatement)
	if err != nil {
		return t, err
	}
	bindings := map[string][]queue.Binding{}
	for _, r := range rows {
		switch {
		case r.queue == "":
			t.Exchanges = append(t.Exchanges, queue.Exchange{Name: r.exchange, Type: queue.ExchangeType(r.exchangeType)})
		case r.exchange == "":
			t.Queues = append(t.Queues, queue.Queue{Name: r.queue})
		default:
			b := queue.Binding{Exchange: r.exchange, Pattern: r.pattern, AnyHeader: r.anyHeader}
			if r.headers != nil {
				if err := json.Unmarshal(r.headers, &b.Headers); err != nil {
					return t, err
				}
			}
			bindings[r.queue] = append(bindings[r.queue], b)
		}
	}
	for i := range t.Queues {
		t.Queues[i].Bindings = bindings[t.Queues[i].Name]
	}
	return t, nil
}

const outboxDepthsStatement = `
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

type outboxDepth struct {
	queue string
	queue.Depth
}

// outboxDepths returns the messages in the outbox per queue: those addressed to the
// queue after a failure or a redrive, and delayed ones.
func outboxDepths(ctx context.Context, db *postgres.DB) ([]outboxDepth, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d outboxDepth, err error) {
		err = columns(&d.queue, &d.Ready, &d.Delayed, &d.Oldest)
		return d, err
	}, outboxDepthsStatement)
}
