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

// shipment identifies a row of the outbox at one time: a message that is put back
// gets another availableAt.
type shipment struct {
	id          int64
	queue       string
	availableAt int64 // microseconds
}

// shipmentArrays returns shipments as the arguments of a statement.
func shipmentArrays(shipments []shipment) (ids, queues, times any) {
	id, name, at := make([]int64, len(shipments)), make([]string, len(shipments)), make([]int64, len(shipments))
	for i, s := range shipments {
		id[i], name[i], at[i] = s.id, s.queue, s.availableAt
	}
	return pq.Array(id), pq.Array(name), pq.Array(at)
}

// outboxLock is the session-level advisory lock that the relay holds, and the
// database connection that holds it. The relay's statements run on this connection,
// so that they fail once the lock is lost.
type outboxLock struct {
	connection *sql.Conn
	prepared   map[string]*sql.Stmt
}

const lockStatement = `
select pg_try_advisory_lock(hashtext('queue.outbox'))`

// Keepalives detect a dead relay after 20 s. The statements take long arrays of ids,
// whose values the planner must know. With asynchronous commits a crash of Postgres
// can lose the last deletions: those messages are shipped again.
const configureStatement = `
select set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('synchronous_commit', 'off', false)`

// tryLockOutbox acquires the outbox's lock. It returns nil if another process holds
// it.
func tryLockOutbox(ctx context.Context, db *postgres.DB) (*outboxLock, error) {
	connection, err := db.Pool().Conn(ctx)
	if err != nil {
		return nil, err
	}
	l := &outboxLock{connection: connection, prepared: map[string]*sql.Stmt{}}
	var acquired bool
	if err := connection.QueryRowContext(ctx, lockStatement).Scan(&acquired); err != nil {
		l.release()
		return nil, err
	}
	if !acquired {
		return nil, connection.Close() // back into the pool
	}
	if _, err := connection.ExecContext(ctx, configureStatement); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// release closes the connection and thereby releases the lock.
func (l *outboxLock) release() {
	_ = l.connection.Raw(func(any) error { return driver.ErrBadConn })
	_ = l.connection.Close()
}

// prepare returns the prepared statement of a text.
func (l *outboxLock) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt := l.prepared[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := l.connection.PrepareContext(ctx, text)
	if err == nil {
		l.prepared[text] = stmt
	}
	return stmt, err
}

func (l *outboxLock) exec(ctx context.Context, text string, arguments ...any) (int64, error) {
	stmt, err := l.prepare(ctx, text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, arguments...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// isShipment is the condition that a row of the outbox is one of the shipments $1 to
// $3. The subquery looks up each shipment in the index, locks it and returns its
// ctid. Without this, and with statistics from before a backlog, the planner would
// compare every row of the outbox with every shipment.
const isShipment = `ctid = any(array(
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

// The last row has the time until the next message is due. It is queried only if the
// outbox has no other due messages.
const nextBatchStatement = `
with deleted as (
    delete from queue.outbox
    where  ` + isShipment + `
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

// nextBatch deletes shipped rows, and returns up to limit due rows in the order of
// their ids, beginning with the id cursor, without the messages in flight. wait is
// the time until the next message is due; 0 if there is none, or more are due now.
func (l *outboxLock) nextBatch(ctx context.Context, shipped []shipment, inFlight []int64, cursor int64, limit int) (rows []row, wait time.Duration, err error) {
	stmt, err := l.prepare(ctx, nextBatchStatement)
	if err != nil {
		return nil, 0, err
	}
	ids, queues, times := shipmentArrays(shipped)
	result, err := stmt.QueryContext(ctx, ids, queues, times, pq.Array(inFlight), limit, cursor)
	if err != nil {
		return nil, 0, err
	}
	defer result.Close()
	for result.Next() {
		var r row
		var next sql.NullFloat64
		if err := result.Scan(&r.id, &r.queue, &r.availableAt, &r.deliveries, &r.published, &r.exchange, &r.routingKey, &r.messageType, &r.traceparent,
			&r.headers, &r.history, &r.body, &next); err != nil {
			return nil, 0, err
		}
		if r.exchange == "" { // the last row
			wait = time.Duration(next.Float64 * float64(time.Second))
			continue
		}
		rows = append(rows, r)
	}
	// "union all" does not guarantee an order.
	slices.SortFunc(rows, func(a, b row) int { return compareShipments(a.shipment, b.shipment) })
	return rows, wait, result.Err()
}

const deleteShippedStatement = `
delete from queue.outbox
where  ` + isShipment

// delete deletes shipped rows.
func (l *outboxLock) delete(ctx context.Context, shipped []shipment) error {
	ids, queues, times := shipmentArrays(shipped)
	_, err := l.exec(ctx, deleteShippedStatement, ids, queues, times)
	return err
}

const postponeStatement = `
update queue.outbox
set    available_at = now() + make_interval(secs => $4)
where  ` + isShipment

// postpone makes rows due again after pause.
func (l *outboxLock) postpone(ctx context.Context, rows []shipment, pause time.Duration) error {
	ids, queues, times := shipmentArrays(rows)
	_, err := l.exec(ctx, postponeStatement, ids, queues, times, pause.Seconds())
	return err
}

// A message for an exclusive queue is dropped: the queue no longer exists.
const deadLetterStatement = `
with deleted as (
    delete from queue.outbox
    where  ` + isShipment + `
    returning *
)
insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
select id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history,
       case when $4 <> '' then $4
            when queue = '' then 'no binding of the exchange matches'
            else 'the queue no longer exists in RabbitMQ'
       end, body
from   deleted
where  queue = ''
  or   exists (select from queue.queue q where q.name = deleted.queue)
on conflict (queue, id) do nothing
returning id, queue, exchange, routing_key, type, last_error`

// deadLetter is a row that became a dead letter.
type deadLetter struct {
	id                                              int64
	queue, exchange, routingKey, messageType, cause string
}

// deadLetter moves rows to the dead letters. Without a cause they are those that
// RabbitMQ could not route.
func (l *outboxLock) deadLetter(ctx context.Context, rows []shipment, cause string) (letters []deadLetter, err error) {
	stmt, err := l.prepare(ctx, deadLetterStatement)
	if err != nil {
		return nil, err
	}
	ids, queues, times := shipmentArrays(rows)
	result, err := stmt.QueryContext(ctx, ids, queues, times, cause)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	for result.Next() {
		var d deadLetter
		if err := result.Scan(&d.id, &d.queue, &d.exchange, &d.routingKey, &d.messageType, &d.cause); err != nil {
			return nil, err
		}
		letters = append(letters, d)
	}
	return letters, result.Err()
}

const adoptStatement = `
with adopted as (
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
select a.id, q.name, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, body
from   adopted a
join   queue.queue q on q.id = a.queue_id` + replaceShippedRow

// adopt moves up to limit messages from the table of the Postgres engine, which a
// site used before, into the outbox. It skips messages leased by a consumer.
func (l *outboxLock) adopt(ctx context.Context, limit int) (int, error) {
	n, err := l.exec(ctx, adoptStatement, limit)
	return int(n), err
}
