package postgresqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

const findQueueStatement = `
select id, delivery_limit
from queue.queue
where name = $1`

type found struct{ id, deliveryLimit int }

func findQueue(ctx context.Context, db *postgres.DB, name string) (found, error) {
	f, ok, err := postgres.One(ctx, db, func(columns func(...any) error) (f found, err error) {
		err = columns(&f.id, &f.deliveryLimit)
		return f, err
	}, findQueueStatement, name)
	if err == nil && !ok {
		err = fmt.Errorf("queue %q is not declared: declare it before consuming it", name)
	}
	return f, err
}

// publish runs as the module's own role, in the module's own transaction.
const publishStatement = `
select id, reached
from   queue.publish($1, $2, $3, $4, $5, $6, $7, $8)`

type published struct {
	id      int64
	reached pq.Int64Array
}

func publish(ctx context.Context, in postgres.Querier, e queue.Encoded) (published, error) {
	p, _, err := postgres.One(ctx, in, func(columns func(...any) error) (p published, err error) {
		err = columns(&p.id, &p.reached)
		return p, err
	}, publishStatement, e.Exchange, e.RoutingKey, e.Type, e.Traceparent, e.Body, e.HeadersJSON, e.Priority, e.Delay.Seconds())
	return p, err
}

// forgettable has the statement's commit wait for no disk (synchronous_commit,
// PostgreSQL manual 20.5). A crash of Postgres may then forget a lease, or an
// acknowledgement, of its last moment: the message is delivered again, as after
// the crash of a consumer.
const forgettable = `(select set_config('synchronous_commit', 'off', true)) is not null`

// A lease makes a message invisible until it ends; the next lease has another
// number, so that whoever held the last one can no longer acknowledge. The rows
// are locked once, in an array, and then found where they lie: joined, the
// selection may be run once a row, skip what it had locked before, and lease
// beyond the limit.
const leaseStatement = `
update queue.message m
set    lease          = $3,
       available_at   = now() + make_interval(secs => $4),
       delivery_count = m.delivery_count + 1
where  m.ctid = any(array(
           select ctid
           from   queue.message
           where  queue_id = $1
             and  ` + ledger.DueCondition + `
           order by id
           limit  $2
           for update skip locked
       ))
  and  ` + forgettable + `
returning m.id, m.exchange, m.routing_key, m.type, m.traceparent, m.headers, m.body, m.delivery_count, m.published_at`

func lease(ctx context.Context, db *postgres.DB, queueID, most int, number int64, length time.Duration) ([]queue.Delivery, error) {
	var headers []byte
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d queue.Delivery, err error) {
		if err = columns(&d.ID, &d.Exchange, &d.RoutingKey, &d.Type, &d.Traceparent, &headers, &d.Body, &d.Count, &d.Published); err == nil && headers != nil {
			err = json.Unmarshal(headers, &d.Headers)
		}
		return d, err
	}, leaseStatement, queueID, most, number, length.Seconds())
}

const extendStatement = `
update queue.message
set    available_at = now() + make_interval(secs => $4)
where  queue_id = $1
  and  id = any($2)
  and  lease = $3
  and  ` + forgettable + `
returning id`

// extend renews leases and returns which of them were still held.
func extend(ctx context.Context, db *postgres.DB, queueID int, ids []int64, number int64, length time.Duration) ([]int64, error) {
	return postgres.Collect(ctx, db, postgres.Value[int64], extendStatement, queueID, pq.Array(ids), number, length.Seconds())
}

const acknowledgeStatement = `
delete from queue.message
where  queue_id = $1
  and  id = any($2)
  and  lease = $3
  and  ` + forgettable

func acknowledge(ctx context.Context, db *postgres.DB, queueID int, ids []int64, number int64) error {
	_, err := postgres.Exec(ctx, db, acknowledgeStatement, queueID, pq.Array(ids), number)
	return err
}

// history is what a message's becomes with one more failure, bounded.
const history = `(case when jsonb_array_length(m.history) >= 20 then m.history - 0 else coalesce(m.history, '[]') end || $5::jsonb)`

const putBackStatement = `
update queue.message m
set    available_at = now() + make_interval(secs => $4),
       lease        = 0,
       history      = ` + history + `
where  queue_id = $1
  and  id = $2
  and  lease = $3`

func putBack(ctx context.Context, db *postgres.DB, queueID int, id, number int64, pause time.Duration, f queue.Failure) error {
	_, err := postgres.Exec(ctx, db, putBackStatement, queueID, id, number, pause.Seconds(), ledger.JSON(f))
	return err
}

// The count goes back too when nothing was tried, so that a consumer that drains
// does not bring messages nearer to their limit.
const putBackUntriedStatement = `
update queue.message
set    available_at   = queue.due(0),
       lease          = 0,
       delivery_count = delivery_count - 1
where  queue_id = $1
  and  id = any($2)
  and  lease = $3`

func putBackUntried(ctx context.Context, db *postgres.DB, queueID int, ids []int64, number int64) error {
	_, err := postgres.Exec(ctx, db, putBackUntriedStatement, queueID, pq.Array(ids), number)
	return err
}

const buryStatement = `
with dead as (
    delete from queue.message m
    where  queue_id = $1
      and  id = $2
      and  lease = $3
    returning m.*, ` + history + ` as whole_history
)
insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
select id, $6, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, whole_history, $4, body
from   dead
on conflict (queue, id) do nothing`

func bury(ctx context.Context, db *postgres.DB, queueID int, d queue.Delivery, number int64, f queue.Failure) error {
	_, err := postgres.Exec(ctx, db, buryStatement, queueID, d.ID, number, f.Error, ledger.JSON(f), d.Queue)
	return err
}

// lookStatement says in which of the queues somebody has something to do.
const lookStatement = `
select q.id, false
from   unnest($1::integer[]) as q (id)
where  exists (
           select from queue.message m
           where  m.queue_id = q.id
             and  ` + ledger.DueCondition + `)`

// The same, while saying who consumes and which exclusive queues are in use.
var lookAndBeatStatement = ledger.HeartbeatCTE + fmt.Sprintf(`,
kept as (
    update queue.queue
    set    expires_at = now() + make_interval(secs => $%[2]d)
    where  id = any($%[1]d)
      and  expires_at > now()
    returning id
)
select q.id, false
from   unnest($%[1]d::integer[]) as q (id)
where  exists (
           select from queue.message m
           where  m.queue_id = q.id
             and  `+ledger.DueCondition+`)
union all
select id, true
from   kept`, ledger.HeartbeatArguments+1, ledger.HeartbeatArguments+2)

// seen is what a look found.
type seen struct {
	ready []int
	kept  map[int]bool // exclusive queues that are still there
}

type seenRow struct {
	id   int
	kept bool
}

func scanSeen(columns func(...any) error) (r seenRow, err error) {
	err = columns(&r.id, &r.kept)
	return r, err
}

func sortSeen(rows []seenRow) (s seen) {
	s.kept = map[int]bool{}
	for _, r := range rows {
		if r.kept {
			s.kept[r.id] = true
		} else {
			s.ready = append(s.ready, r.id)
		}
	}
	return s
}

func lookOnly(ctx context.Context, db *postgres.DB, queueIDs []int64) (seen, error) {
	rows, err := postgres.Collect(ctx, db, scanSeen, lookStatement, pq.Array(queueIDs))
	return sortSeen(rows), err
}

func lookAndBeat(ctx context.Context, db *postgres.DB, queueIDs []int64, beat ledger.Heartbeat) (seen, error) {
	rows, err := postgres.Collect(ctx, db, scanSeen, lookAndBeatStatement,
		append(beat.Arguments(), pq.Array(queueIDs), ledger.ExclusiveTTL.Seconds())...)
	return sortSeen(rows), err
}

const depthsStatement = `
select q.name,
       count(*) filter (where ` + ledger.DueCondition + `),
       count(*) filter (where not ` + ledger.DueCondition + ` and m.lease = 0),
       count(*) filter (where not ` + ledger.DueCondition + ` and m.lease <> 0),
       coalesce(min(m.published_at), 'epoch')
from   queue.queue q
join   queue.message m on m.queue_id = q.id
group by q.name`

type depth struct {
	name string
	queue.Depth
}

func depths(ctx context.Context, db *postgres.DB) ([]depth, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d depth, err error) {
		err = columns(&d.name, &d.Ready, &d.Delayed, &d.Unacknowledged, &d.Oldest)
		return d, err
	}, depthsStatement)
}

const redriveStatement = `
with letter as (
    delete from queue.dead_letter d
    using  queue.queue q
    where  d.queue = $1
      and  q.name = $1
      and  ($2 or d.id = any($3))
    returning d.*, q.id as queue_id
)
insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select queue_id, id, queue.due(0), published_at, exchange, routing_key, type, traceparent, headers, history, body
from   letter
returning queue_id`

// redriveLetters puts dead letters back into their queue.
func redriveLetters(ctx context.Context, db *postgres.DB, name string, ids []int64) (reached []int64, n int, err error) {
	reached, err = postgres.Collect(ctx, db, postgres.Value[int64], redriveStatement, name, len(ids) == 0, pq.Array(ids))
	n = len(reached)
	return reached[:min(n, 1)], n, err
}

// A letter that still reaches nobody stays where it is.
const rerouteStatement = `
with letter as (
    select d.*, d.ctid as place, array(select queue.route(d.exchange, d.routing_key, d.headers)) as reached
    from   queue.dead_letter d
    where  d.queue = ''
      and  ($1 or d.id = any($2))
    for update of d
), gone as (
    delete from queue.dead_letter
    where  ctid = any(array(select place from letter where reached <> '{}'))
)
insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
select r.queue_id, l.id, queue.due(0), l.published_at, l.exchange, l.routing_key, l.type, l.traceparent, l.headers, l.body
from   letter l
cross join unnest(l.reached) as r (queue_id)
returning queue_id, id`

type rerouted struct{ queueID, id int64 }

// rerouteLetters publishes dead letters that no binding matched through their
// exchanges again.
func rerouteLetters(ctx context.Context, db *postgres.DB, ids []int64) (reached []int64, n int, err error) {
	rows, err := postgres.Collect(ctx, db, func(columns func(...any) error) (r rerouted, err error) {
		err = columns(&r.queueID, &r.id)
		return r, err
	}, rerouteStatement, len(ids) == 0, pq.Array(ids))
	queues, letters := map[int64]bool{}, map[int64]bool{}
	for _, r := range rows {
		queues[r.queueID], letters[r.id] = true, true
	}
	for id := range queues {
		reached = append(reached, id)
	}
	return reached, len(letters), err
}

const adoptOutboxStatement = `
with waiting as (
    select o.*, o.ctid as place, case when o.queue = ''
               then array(select queue.route(o.exchange, o.routing_key, o.headers))
               else (select array_agg(q.id) from queue.queue q where q.name = o.queue)
           end as reached
    from   queue.outbox o
    for update of o skip locked
), gone as (
    delete from queue.outbox
    where  ctid = any(array(select place from waiting where reached <> '{}'))
)
insert into queue.message (queue_id, id, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select r.queue_id, w.id, w.available_at, w.delivery_count, w.published_at, w.exchange, w.routing_key, w.type, w.traceparent, w.headers, w.history, w.body
from   waiting w
cross join unnest(w.reached) as r (queue_id)
on conflict do nothing`

// adoptOutbox moves messages that wait for another engine's broker to their
// queues.
func adoptOutbox(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, adoptOutboxStatement)
	return err
}
