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

type queueRow struct{ id, deliveryLimit int }

func findQueue(ctx context.Context, db *postgres.DB, name string) (queueRow, error) {
	q, ok, err := postgres.One(ctx, db, func(columns func(...any) error) (q queueRow, err error) {
		err = columns(&q.id, &q.deliveryLimit)
		return q, err
	}, findQueueStatement, name)
	if err == nil && !ok {
		err = fmt.Errorf("queue %q is not declared: declare it before consuming it", name)
	}
	return q, err
}

// publishStatement runs with the module's role, in the module's transaction.
const publishStatement = `
select id, reached
from   queue.publish($1, $2, $3, $4, $5, $6, $7, $8)`

type published struct {
	id      int64
	reached pq.Int64Array // the ids of the queues
}

func publish(ctx context.Context, db postgres.Querier, e queue.Encoded) (published, error) {
	p, _, err := postgres.One(ctx, db, func(columns func(...any) error) (p published, err error) {
		err = columns(&p.id, &p.reached)
		return p, err
	}, publishStatement, e.Exchange, e.RoutingKey, e.Type, e.Traceparent, e.Body, e.HeadersJSON, e.Priority, e.Delay.Seconds())
	return p, err
}

// asyncCommit makes the statement's commit asynchronous (synchronous_commit,
// PostgreSQL manual 20.5). A crash of Postgres can then lose its last leases and
// acknowledgements: the messages are redelivered, as after the crash of a consumer.
const asyncCommit = `(select set_config('synchronous_commit', 'off', true)) is not null`

// leaseStatement makes messages invisible to other consumers until the lease
// expires. The next lease has another id, so that the previous consumer can no
// longer acknowledge. The rows are selected in an array and then updated by ctid: as
// a join, the planner could run the subquery once per row, which skips the rows it
// has locked before and leases more than the limit.
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
  and  ` + asyncCommit + `
returning m.id, m.exchange, m.routing_key, m.type, m.traceparent, m.headers, m.body, m.delivery_count, m.published_at`

func lease(ctx context.Context, db *postgres.DB, queueID, limit int, leaseID int64, duration time.Duration) ([]queue.Delivery, error) {
	var headers []byte
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d queue.Delivery, err error) {
		if err = columns(&d.ID, &d.Exchange, &d.RoutingKey, &d.Type, &d.Traceparent, &headers, &d.Body, &d.Count, &d.Published); err == nil && headers != nil {
			err = json.Unmarshal(headers, &d.Headers)
		}
		return d, err
	}, leaseStatement, queueID, limit, leaseID, duration.Seconds())
}

const renewStatement = `
update queue.message
set    available_at = now() + make_interval(secs => $4)
where  queue_id = $1
  and  id = any($2)
  and  lease = $3
  and  ` + asyncCommit + `
returning id`

// renew renews leases and returns the ids of the messages that were still leased.
func renew(ctx context.Context, db *postgres.DB, queueID int, ids []int64, leaseID int64, duration time.Duration) ([]int64, error) {
	return postgres.Collect(ctx, db, postgres.Value[int64], renewStatement, queueID, pq.Array(ids), leaseID, duration.Seconds())
}

const acknowledgeStatement = `
delete from queue.message
where  queue_id = $1
  and  id = any($2)
  and  lease = $3
  and  ` + asyncCommit

func acknowledge(ctx context.Context, db *postgres.DB, queueID int, ids []int64, leaseID int64) error {
	_, err := postgres.Exec(ctx, db, acknowledgeStatement, queueID, pq.Array(ids), leaseID)
	return err
}

// appendedHistory is a message's history with one more failure, limited to
// queue.MaxHistory.
const appendedHistory = `(case when jsonb_array_length(m.history) >= 20 then m.history - 0 else coalesce(m.history, '[]') end || $5::jsonb)`

const putBackStatement = `
update queue.message m
set    available_at = now() + make_interval(secs => $4),
       lease        = 0,
       history      = ` + appendedHistory + `
where  queue_id = $1
  and  id = $2
  and  lease = $3`

func putBack(ctx context.Context, db *postgres.DB, queueID int, id, leaseID int64, backoff time.Duration, f queue.Failure) error {
	_, err := postgres.Exec(ctx, db, putBackStatement, queueID, id, leaseID, backoff.Seconds(), ledger.JSON(f))
	return err
}

// putBackUntriedStatement restores the delivery count too, so that a draining
// consumer does not use up the delivery limit.
const putBackUntriedStatement = `
update queue.message
set    available_at   = queue.due(0),
       lease          = 0,
       delivery_count = delivery_count - 1
where  queue_id = $1
  and  id = any($2)
  and  lease = $3`

func putBackUntried(ctx context.Context, db *postgres.DB, queueID int, ids []int64, leaseID int64) error {
	_, err := postgres.Exec(ctx, db, putBackUntriedStatement, queueID, pq.Array(ids), leaseID)
	return err
}

const deadLetterStatement = `
with dead as (
    delete from queue.message m
    where  queue_id = $1
      and  id = $2
      and  lease = $3
    returning m.*, ` + appendedHistory + ` as full_history
)
insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
select id, $6, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, full_history, $4, body
from   dead
on conflict (queue, id) do nothing`

func deadLetter(ctx context.Context, db *postgres.DB, queueID int, d queue.Delivery, leaseID int64, f queue.Failure) error {
	_, err := postgres.Exec(ctx, db, deadLetterStatement, queueID, d.ID, leaseID, f.Error, ledger.JSON(f), d.Queue)
	return err
}

// pollStatement returns which of the queues have messages that can be delivered.
const pollStatement = `
select q.id, false
from   unnest($1::integer[]) as q (id)
where  exists (
           select from queue.message m
           where  m.queue_id = q.id
             and  ` + ledger.DueCondition + `)`

// pollWithHeartbeatStatement also writes a heartbeat and renews exclusive queues.
var pollWithHeartbeatStatement = ledger.HeartbeatCTE + fmt.Sprintf(`,
renewed as (
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
from   renewed`, ledger.HeartbeatArguments+1, ledger.HeartbeatArguments+2)

type pollResult struct {
	ready   []int        // ids of queues with messages that can be delivered
	renewed map[int]bool // ids of exclusive queues that had not expired
}

type pollRow struct {
	id      int
	renewed bool
}

func scanPollRow(columns func(...any) error) (r pollRow, err error) {
	err = columns(&r.id, &r.renewed)
	return r, err
}

func newPollResult(rows []pollRow) pollResult {
	result := pollResult{renewed: map[int]bool{}}
	for _, r := range rows {
		if r.renewed {
			result.renewed[r.id] = true
		} else {
			result.ready = append(result.ready, r.id)
		}
	}
	return result
}

func pollQueues(ctx context.Context, db *postgres.DB, queueIDs []int64) (pollResult, error) {
	rows, err := postgres.Collect(ctx, db, scanPollRow, pollStatement, pq.Array(queueIDs))
	return newPollResult(rows), err
}

func pollWithHeartbeat(ctx context.Context, db *postgres.DB, queueIDs []int64, h ledger.Heartbeat) (pollResult, error) {
	rows, err := postgres.Collect(ctx, db, scanPollRow, pollWithHeartbeatStatement,
		append(h.Arguments(), pq.Array(queueIDs), ledger.ExclusiveTTL.Seconds())...)
	return newPollResult(rows), err
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

// redriveDeadLetters moves dead letters back to their queue, and returns the queue's
// id and the number of dead letters.
func redriveDeadLetters(ctx context.Context, db *postgres.DB, name string, ids []int64) (reached []int64, n int, err error) {
	reached, err = postgres.Collect(ctx, db, postgres.Value[int64], redriveStatement, name, len(ids) == 0, pq.Array(ids))
	n = len(reached)
	return reached[:min(n, 1)], n, err
}

// rerouteStatement leaves dead letters that are still unroutable.
const rerouteStatement = `
with letter as (
    select d.*, d.ctid as row_id, array(select queue.route(d.exchange, d.routing_key, d.headers)) as reached
    from   queue.dead_letter d
    where  d.queue = ''
      and  ($1 or d.id = any($2))
    for update of d
), routed as (
    delete from queue.dead_letter
    where  ctid = any(array(select row_id from letter where reached <> '{}'))
)
insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
select r.queue_id, l.id, queue.due(0), l.published_at, l.exchange, l.routing_key, l.type, l.traceparent, l.headers, l.body
from   letter l
cross join unnest(l.reached) as r (queue_id)
returning queue_id, id`

type rerouted struct{ queueID, id int64 }

// rerouteDeadLetters publishes unroutable messages to their exchanges again, and
// returns the ids of the queues they reached and the number of dead letters.
func rerouteDeadLetters(ctx context.Context, db *postgres.DB, ids []int64) (reached []int64, n int, err error) {
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
with shipment as (
    select o.*, o.ctid as row_id, case when o.queue = ''
               then array(select queue.route(o.exchange, o.routing_key, o.headers))
               else (select array_agg(q.id) from queue.queue q where q.name = o.queue)
           end as reached
    from   queue.outbox o
    for update of o skip locked
), routed as (
    delete from queue.outbox
    where  ctid = any(array(select row_id from shipment where reached <> '{}'))
)
insert into queue.message (queue_id, id, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select r.queue_id, s.id, s.available_at, s.delivery_count, s.published_at, s.exchange, s.routing_key, s.type, s.traceparent, s.headers, s.history, s.body
from   shipment s
cross join unnest(s.reached) as r (queue_id)
on conflict do nothing`

// adoptOutbox moves the messages that another engine has not shipped to their
// queues.
func adoptOutbox(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, adoptOutboxStatement)
	return err
}
