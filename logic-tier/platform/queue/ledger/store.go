package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// lockTopologyStatement serialises the declarations of processes that start at the
// same time.
const lockTopologyStatement = `
select pg_advisory_xact_lock(hashtext('queue.topology'))`

func lockTopology(ctx context.Context, tx *postgres.Tx) error {
	_, err := postgres.Exec(ctx, tx, lockTopologyStatement)
	return err
}

const declareExchangeStatement = `
insert into queue.exchange as e (name, type, owner)
values ($1, $2, nullif($3, ''))
on conflict (name) do update set owner = coalesce(e.owner, excluded.owner)
returning type, coalesce(owner, '')`

// declareExchange creates the exchange if it does not exist, and returns its stored
// type and owner. The first owner stays the owner.
func declareExchange(ctx context.Context, tx *postgres.Tx, e queue.Exchange, owner string) (storedType queue.ExchangeType, storedOwner string, err error) {
	_, _, err = postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&storedType, &storedOwner)
	}, declareExchangeStatement, e.Name, string(e.Type), owner)
	return storedType, storedOwner, err
}

const exchangeTypeStatement = `
select type
from   queue.exchange
where  name = $1`

func exchangeType(ctx context.Context, tx *postgres.Tx, name string) (t queue.ExchangeType, declared bool, err error) {
	text, declared, err := postgres.One(ctx, tx, postgres.Value[string], exchangeTypeStatement, name)
	return queue.ExchangeType(text), declared, err
}

const declareQueueStatement = `
insert into queue.queue as q (name, delivery_limit, owner)
values ($1, $2, nullif($3, ''))
on conflict (name) do update set delivery_limit = excluded.delivery_limit, owner = coalesce(q.owner, excluded.owner)
returning id`

func declareQueue(ctx context.Context, tx *postgres.Tx, q queue.Queue, owner string) (id int, err error) {
	id, _, err = postgres.One(ctx, tx, postgres.Value[int], declareQueueStatement, q.Name, q.DeliveryLimit, owner)
	return id, err
}

// ExclusiveTTL is how long an exclusive queue outlives its consumer's last
// heartbeat.
const ExclusiveTTL = time.Minute

const declareExclusiveStatement = `
insert into queue.queue (name, delivery_limit, expires_at)
values ($1, $2, now() + make_interval(secs => $3))
on conflict (name) do update set expires_at = excluded.expires_at
returning id`

func declareExclusive(ctx context.Context, tx *postgres.Tx, name string, deliveryLimit int, ttl time.Duration) (id int, err error) {
	id, _, err = postgres.One(ctx, tx, postgres.Value[int], declareExclusiveStatement, name, deliveryLimit, ttl.Seconds())
	return id, err
}

const unbindStatement = `
delete from queue.binding
where queue_id = $1`

func unbind(ctx context.Context, tx *postgres.Tx, queueID int) error {
	_, err := postgres.Exec(ctx, tx, unbindStatement, queueID)
	return err
}

const bindStatement = `
insert into queue.binding (exchange, queue_id, pattern, matches, headers, any_header)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing`

func bind(ctx context.Context, tx *postgres.Tx, queueID int, b storedBinding) error {
	_, err := postgres.Exec(ctx, tx, bindStatement, b.Exchange, queueID, b.pattern, b.matches, b.headers, b.AnyHeader)
	return err
}

const heartbeatStatement = `
insert into queue.consumer (process, queue, host, engine, prefetch, concurrency, held, acknowledged, redelivered, dead, began_at, seen_at)
select process, queue, $1, $2, prefetch, concurrency, held, acknowledged, redelivered, dead, began_at, now()
from   unnest($3::text[], $4::text[], $5::integer[], $6::integer[], $7::integer[], $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[])
       as b (process, queue, prefetch, concurrency, held, acknowledged, redelivered, dead, began_at)
on conflict (process, queue) do update
set    held         = excluded.held,
       acknowledged = excluded.acknowledged,
       redelivered  = excluded.redelivered,
       dead         = excluded.dead,
       seen_at      = excluded.seen_at`

// HeartbeatCTE writes a heartbeat as part of an engine's statement, so that it costs
// no extra query. It takes the arguments $1 to $11, which Arguments returns.
const HeartbeatCTE = `
with heartbeat as (` + heartbeatStatement + `)`

// HeartbeatArguments is the number of arguments of a heartbeat.
const HeartbeatArguments = 11

// Arguments returns the arguments of HeartbeatCTE.
func (h Heartbeat) Arguments() []any {
	return []any{
		h.host, h.engine, pq.Array(h.process), pq.Array(h.queue), pq.Array(h.prefetch), pq.Array(h.concurrency),
		pq.Array(h.held), pq.Array(h.acknowledged), pq.Array(h.redelivered), pq.Array(h.dead), pq.Array(h.began),
	}
}

// Write writes the heartbeat.
func (h Heartbeat) Write(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, heartbeatStatement, h.Arguments()...)
	return err
}

// consumerTTL is how long a consumer counts as running after its last heartbeat.
const consumerTTL = 3 * heartbeatInterval

const consumersStatement = `
select process, queue, host, prefetch, concurrency, held, acknowledged, redelivered, dead, began_at
from   queue.consumer
where  seen_at > now() - make_interval(secs => $1)
order by queue, began_at, process`

// Consumer is a consumer of any process, as of its last heartbeat.
type Consumer struct {
	Process, Queue, Host            string
	Prefetch, Concurrency, Held     int
	Acknowledged, Redelivered, Dead int64
	Began                           time.Time
}

// Consumers returns the running consumers of all processes.
func Consumers(ctx context.Context, db *postgres.DB) ([]Consumer, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (c Consumer, err error) {
		err = columns(&c.Process, &c.Queue, &c.Host, &c.Prefetch, &c.Concurrency, &c.Held, &c.Acknowledged, &c.Redelivered, &c.Dead, &c.Began)
		return c, err
	}, consumersStatement, consumerTTL.Seconds())
}

const addDeadLetterStatement = `
insert into queue.dead_letter (queue, id, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (queue, id) do nothing`

// AddDeadLetter stores a dead letter. It is idempotent.
func AddDeadLetter(ctx context.Context, q postgres.Querier, l DeadLetter) error {
	var headers, history []byte
	if len(l.Headers) > 0 {
		headers = JSON(l.Headers)
	}
	if len(l.History) > 0 {
		history = JSON(l.History)
	}
	body := l.Body
	if body == nil {
		body = []byte{}
	}
	_, err := postgres.Exec(ctx, q, addDeadLetterStatement, l.Queue, l.ID, l.Count, l.Published, l.Exchange, l.RoutingKey, l.Type, l.Traceparent, headers, history, l.Error, body)
	return err
}

const countDeadLettersStatement = `
select queue, count(*)
from   queue.dead_letter
group by queue`

type deadLetterCount struct {
	queue string
	count int64
}

// CountDeadLetters returns the number of dead letters of each queue that has any.
func CountDeadLetters(ctx context.Context, db *postgres.DB) (map[string]int64, error) {
	rows, err := postgres.Collect(ctx, db, func(columns func(...any) error) (c deadLetterCount, err error) {
		err = columns(&c.queue, &c.count)
		return c, err
	}, countDeadLettersStatement)
	counts := make(map[string]int64, len(rows))
	for _, c := range rows {
		counts[c.queue] = c.count
	}
	return counts, err
}

// DeadLetterKey is the position of a dead letter in the list, for pagination.
type DeadLetterKey struct {
	Died  time.Time `json:"t"`
	Queue string    `json:"q"`
	ID    int64     `json:"i"`
}

// FirstDeadLetterKey returns a position before all dead letters.
func FirstDeadLetterKey() DeadLetterKey { return DeadLetterKey{Died: time.Now().AddDate(1, 0, 0)} }

const listDeadLettersStatement = `
select queue, id, died_at, published_at, delivery_count, exchange, routing_key, type, traceparent, headers, last_error
from   queue.dead_letter
where  ($1 or queue = $2)
  and  (died_at, queue, id) < ($3, $4, $5)
order by died_at desc, queue desc, id desc
limit  $6`

// ListDeadLetters returns up to limit dead letters after a position, the latest
// first, without their bodies and histories: those of a queue, or of all queues if
// queue is nil.
func ListDeadLetters(ctx context.Context, db *postgres.DB, queue *string, after DeadLetterKey, limit int) ([]DeadLetter, error) {
	name := ""
	if queue != nil {
		name = *queue
	}
	return postgres.Collect(ctx, db, func(columns func(...any) error) (l DeadLetter, err error) {
		var headers []byte
		if err = columns(&l.Queue, &l.ID, &l.Died, &l.Published, &l.Count, &l.Exchange, &l.RoutingKey, &l.Type, &l.Traceparent, &headers, &l.Error); err == nil && headers != nil {
			err = json.Unmarshal(headers, &l.Headers)
		}
		return l, err
	}, listDeadLettersStatement, queue == nil, name, after.Died, after.Queue, after.ID, limit)
}

const findDeadLetterStatement = `
select died_at, published_at, delivery_count, exchange, routing_key, type, traceparent, headers, history, last_error, body
from   queue.dead_letter
where  queue = $1
  and  id = $2`

// FindDeadLetter returns a dead letter with its body and history, or
// ErrDeadLetterNotFound.
func FindDeadLetter(ctx context.Context, db *postgres.DB, queue string, id int64) (DeadLetter, error) {
	l, found, err := postgres.One(ctx, db, func(columns func(...any) error) (l DeadLetter, err error) {
		l.Queue, l.ID = queue, id
		var headers, history []byte
		if err = columns(&l.Died, &l.Published, &l.Count, &l.Exchange, &l.RoutingKey, &l.Type, &l.Traceparent, &headers, &history, &l.Error, &l.Body); err != nil {
			return l, err
		}
		if headers != nil {
			if err = json.Unmarshal(headers, &l.Headers); err != nil {
				return l, err
			}
		}
		if history != nil {
			err = json.Unmarshal(history, &l.History)
		}
		return l, err
	}, findDeadLetterStatement, queue, id)
	if err == nil && !found {
		err = ErrDeadLetterNotFound
	}
	return l, err
}

const discardDeadLettersStatement = `
delete from queue.dead_letter
where  queue = $1
  and  ($2 or id = any($3))`

// DiscardDeadLetters deletes the dead letters of a queue with these ids, or all of
// them if ids is empty, and returns how many it deleted.
func DiscardDeadLetters(ctx context.Context, db *postgres.DB, queue string, ids []int64) (int, error) {
	n, err := postgres.Exec(ctx, db, discardDeadLettersStatement, queue, len(ids) == 0, pq.Array(ids))
	return int(n), err
}

const outboxDepthStatement = `
select count(*), coalesce(min(published_at), 'epoch')
from   queue.outbox`

// OutboxDepth describes the messages in the outbox, which an external broker has not
// confirmed yet.
type OutboxDepth struct {
	Count  int64
	Oldest time.Time // when the oldest was published; zero if there are none
}

// ReadOutboxDepth returns the depth of the outbox.
func ReadOutboxDepth(ctx context.Context, db *postgres.DB) (OutboxDepth, error) {
	o, _, err := postgres.One(ctx, db, func(columns func(...any) error) (o OutboxDepth, err error) {
		err = columns(&o.Count, &o.Oldest)
		return o, err
	}, outboxDepthStatement)
	if o.Count == 0 {
		o.Oldest = time.Time{}
	}
	return o, err
}

const sweepStatement = `
with expired_consumer as (
    delete from queue.consumer
    where  seen_at < now() - make_interval(secs => $1)
), expired_mark as (
    delete from queue.handled
    where  handled_at < now() - make_interval(secs => $2)
), expired_queue as (
    delete from queue.queue
    where  expires_at < now()
    returning id
)
delete from queue.message
where  queue_id in (select id from expired_queue)`

func sweep(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, sweepStatement, (2 * consumerTTL).Seconds(), handledLifetime.Seconds())
	return err
}

const dropExclusiveStatement = `
with dropped as (
    delete from queue.queue
    where  id = $1
      and  expires_at is not null
    returning id
)
delete from queue.message
where  queue_id in (select id from dropped)`

// DropExclusive deletes an exclusive queue and its messages.
func DropExclusive(ctx context.Context, db *postgres.DB, id int) error {
	_, err := postgres.Exec(ctx, db, dropExclusiveStatement, id)
	return err
}
