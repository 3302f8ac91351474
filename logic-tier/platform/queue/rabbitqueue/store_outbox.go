package rabbitqueue

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// shipment is a row on its way. A row's time tells one shipment of it from the
// next.
type shipment struct {
	id    int64
	queue string
	at    int64 // microseconds
}

// columnsOf returns shipments as a statement takes them.
func columnsOf(shipments []shipment) (ids, queues, times any) {
	id, name, at := make([]int64, len(shipments)), make([]string, len(shipments)), make([]int64, len(shipments))
	for i, s := range shipments {
		id[i], name[i], at[i] = s.id, s.queue, s.at
	}
	return pq.Array(id), pq.Array(name), pq.Array(at)
}

// hold is the connection to the database that has the outbox's lock, and on which
// everything is done that only its holder may: when the connection is lost, so is
// the lock.
type hold struct {
	connection *sql.Conn
	prepared   map[string]*sql.Stmt
}

const lockStatement = `
select pg_try_advisory_lock(hashtext('queue.outbox'))`

// A holder that vanished is noticed after 20 s. The statements take long lists of
// ids, for which the planner must see them. A crash of Postgres may forget what the
// holder did last: a message that was shipped is shipped again.
const holdStatement = `
select set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('synchronous_commit', 'off', false)`

// tryHold returns the outbox's lock; nil when somebody else has it.
func tryHold(ctx context.Context, db *postgres.DB) (*hold, error) {
	connection, err := db.Pool().Conn(ctx)
	if err != nil {
		return nil, err
	}
	h := &hold{connection: connection, prepared: map[string]*sql.Stmt{}}
	var got bool
	if err := connection.QueryRowContext(ctx, lockStatement).Scan(&got); err != nil {
		h.drop()
		return nil, err
	}
	if !got {
		return nil, connection.Close() // back into the pool
	}
	if _, err := connection.ExecContext(ctx, holdStatement); err != nil {
		h.drop()
		return nil, err
	}
	return h, nil
}

// drop closes the connection, and with it gives the lock back.
func (h *hold) drop() {
	_ = h.connection.Raw(func(any) error { return driver.ErrBadConn })
	_ = h.connection.Close()
}

func (h *hold) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt := h.prepared[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := h.connection.PrepareContext(ctx, text)
	if err == nil {
		h.prepared[text] = stmt
	}
	return stmt, err
}

func (h *hold) exec(ctx context.Context, text string, arguments ...any) (int64, error) {
	stmt, err := h.statement(ctx, text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, arguments...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// areShipments says that a row of the outbox is one of the shipments $1 to $3. They
// are looked up one by one in the index and locked, and then found where they lie:
// with statistics from before a backlog came, the planner would rather hold every
// row of the outbox against every shipment.
const areShipments = `ctid = any(array(
           select o.ctid
           from   unnest($1::bigint[], $2::text[], $3::bigint[]) as s (id, queue, at)
           cross join lateral (
               select ctid
               from   queue.outbox
               where  id = s.id
                 and  queue = s.queue
                 and  (extract(epoch from available_at) * 1000000)::bigint = s.at
               limit  1
               for update
           ) o
       ))`

// The last row says when the next message is due; that is looked up only when the
// outbox has no more that is due.
const shipStatement = `
with gone as (
    delete from queue.outbox
    where  ` + areShipments + `
), due as materialized (
    select id, queue, (extract(epoch from available_at) * 1000000)::bigint as at, delivery_count,
           (extract(epoch from published_at) * 1000000)::bigint as published, exchange, routing_key, type, traceparent, headers, history, body
    from   queue.outbox
    where  ` + ledger.DueCondition + `
      and  id <> all($4::bigint[])
      and  id >= $6
    order by id, queue
    limit  $5
)
select id, queue, at, delivery_count, published, exchange, routing_key, type, traceparent, headers, history, body, null::float8
from   due
union all
select 0, '', 0, 0, 0, '', '', '', '', null, null, '', extract(epoch from min(available_at) - now())::float8
from   queue.outbox
where  available_at > now()
  and  (select count(*) from due) < $5`

// ship deletes what was shipped, and returns what is to be: rows that are due, in
// the order of their ids from one on, but those on their way. wait is until the
// next is due; 0 when nothing waits, or there is more that is due.
func (h *hold) ship(ctx context.Context, shipped []shipment, onWay []int64, from int64, most int) (rows []row, wait time.Duration, err error) {
	stmt, err := h.statement(ctx, shipStatement)
	if err != nil {
		return nil, 0, err
	}
	ids, queues, times := columnsOf(shipped)
	read, err := stmt.QueryContext(ctx, ids, queues, times, pq.Array(onWay), most, from)
	if err != nil {
		return nil, 0, err
	}
	defer read.Close()
	for read.Next() {
		var r row
		var next sql.NullFloat64
		if err := read.Scan(&r.id, &r.queue, &r.at, &r.deliveries, &r.published, &r.exchange, &r.routingKey, &r.of, &r.traceparent,
			&r.headers, &r.history, &r.body, &next); err != nil {
			return nil, 0, err
		}
		if r.exchange == "" { // the last
			wait = time.Duration(next.Float64 * float64(time.Second))
			continue
		}
		rows = append(rows, r)
	}
	// "union all" promises no order.
	slices.SortFunc(rows, func(a, b row) int { return compareShipments(a.shipment, b.shipment) })
	return rows, wait, read.Err()
}

const deleteShippedStatement = `
delete from queue.outbox
where  ` + areShipments

func (h *hold) deleteShipped(ctx context.Context, shipped []shipment) error {
	ids, queues, times := columnsOf(shipped)
	_, err := h.exec(ctx, deleteShippedStatement, ids, queues, times)
	return err
}

const postponeStatement = `
update queue.outbox
set    available_at = now() + make_interval(secs => $4)
where  ` + areShipments

// postpone has rows shipped again, later.
func (h *hold) postpone(ctx context.Context, rows []shipment, pause time.Duration) error {
	ids, queues, times := columnsOf(rows)
	_, err := h.exec(ctx, postponeStatement, ids, queues, times, pause.Seconds())
	return err
}

// What was for an exclusive queue is gone with it.
const buryStatement = `
with gone as (
    delete from queue.outbox
    where  ` + areShipments + `
    returning *
)
insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
select id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history,
       case when $4 <> '' then $4
            when queue = '' then 'no binding of the exchange matches'
            else 'its queue is not there in RabbitMQ any more'
       end, body
from   gone
where  queue = ''
  or   exists (select from queue.queue q where q.name = gone.queue)
on conflict (queue, id) do nothing
returning id, queue, exchange, routing_key, type, last_error`

// buried is a row that became a dead letter.
type buried struct {
	id                                     int64
	queue, exchange, routingKey, of, cause string
}

// bury makes rows dead letters: those that RabbitMQ could give to no queue, and
// with a cause those that it cannot be given.
func (h *hold) bury(ctx context.Context, rows []shipment, cause string) (all []buried, err error) {
	stmt, err := h.statement(ctx, buryStatement)
	if err != nil {
		return nil, err
	}
	ids, queues, times := columnsOf(rows)
	read, err := stmt.QueryContext(ctx, ids, queues, times, cause)
	if err != nil {
		return nil, err
	}
	defer read.Close()
	for read.Next() {
		var b buried
		if err := read.Scan(&b.id, &b.queue, &b.exchange, &b.routingKey, &b.of, &b.cause); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, read.Err()
}

const adoptStatement = `
with left_over as (
    delete from queue.message
    where  ctid = any(array(
               select m.ctid
               from   queue.message m
               join   queue.queue q on q.id = m.queue_id
               where  q.expires_at is null
                 and  (m.available_at <= now() or m.lease = 0)
               order by m.id
               limit  $1
               for update of m skip locked
           ))
    returning *
)
insert into queue.outbox as o (id, queue, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body)
select l.id, q.name, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body
from   left_over l
join   queue.queue q on q.id = l.queue_id` + onWayAgain

// adopt moves messages to the outbox that are in the tables of the other engine,
// from when that one was in use: so many at most, and none that is with a
// consumer.
func (h *hold) adopt(ctx context.Context, most int) (int, error) {
	n, err := h.exec(ctx, adoptStatement, most)
	return int(n), err
}
