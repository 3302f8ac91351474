package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// Two processes that start together declare one after the other.
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

// declareExchange returns the type and the owner that the exchange has now. The
// first owner stays.
func declareExchange(ctx context.Context, tx *postgres.Tx, e queue.Exchange, owner string) (kind queue.ExchangeType, ownedBy string, err error) {
	_, _, err = postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&kind, &ownedBy)
	}, declareExchangeStatement, e.Name, string(e.Type), owner)
	return kind, ownedBy, err
}

const exchangeTypeStatement = `
select type
from   queue.exchange
where  name = $1`

func exchangeType(ctx context.Context, tx *postgres.Tx, name string) (queue.ExchangeType, bool, error) {
	found, declared, err := postgres.One(ctx, tx, postgres.Value[string], exchangeTypeStatement, name)
	return queue.ExchangeType(found), declared, err
}

const declareQueueStatement = `
insert into queue.queue as q (name, delivery_limit, owner)
values ($1, $2, nullif($3, ''))
on conflict (name) do update set delivery_limit = excluded.delivery_limit, owner = coalesce(q.owner, excluded.owner)
returning id`

func declareQueue(ctx context.Context, tx *postgres.Tx, declared queue.Queue, owner string) (int, error) {
	id, _, err := postgres.One(ctx, tx, postgres.Value[int], declareQueueStatement, declared.Name, declared.DeliveryLimit, owner)
	return id, err
}

// ExclusiveLife is how long an exclusive queue outlives the last sign of its
// consumer.
const ExclusiveLife = time.Minute

const declareExclusiveStatement = `
insert into queue.queue (name, delivery_limit, expires_at)
values ($1, $2, now() + make_interval(secs => $3))
on conflict (name) do update set expires_at = excluded.expires_at
returning id`

func declareExclusive(ctx context.Context, tx *postgres.Tx, name string, deliveryLimit int, life time.Duration) (int, error) {
	id, _, err := postgres.One(ctx, tx, postgres.Value[int], declareExclusiveStatement, name, deliveryLimit, life.Seconds())
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

func bind(ctx context.Context, tx *postgres.Tx, queueID int, b binding) error {
	_, err := postgres.Exec(ctx, tx, bindStatement, b.Exchange, queueID, b.pattern, b.matches, b.headers, b.AnyHeader)
	return err
}

const beatStatement = `
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

// BeatCTE is a beat as part of an engine's own statement, with the arguments
// that Arguments gives, so that saying who is there costs no query of its own.
const BeatCTE = `
with beat as (` + beatStatement + `)`

// BeatArguments is how many arguments a beat takes.
const BeatArguments = 11

// Arguments returns what a beat's statement takes.
func (b Beat) Arguments() []any {
	return []any{
		b.host, b.engine, pq.Array(b.process), pq.Array(b.queue), pq.Array(b.prefetch), pq.Array(b.concurrency),
		pq.Array(b.held), pq.Array(b.acknowledged), pq.Array(b.redelivered), pq.Array(b.dead), pq.Array(b.began),
	}
}

// Write writes the beat.
func (b Beat) Write(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, beatStatement, b.Arguments()...)
	return err
}

// seenWithin is how long a consumer counts as there after its last beat.
const seenWithin = 3 * beatEvery

const consumersStatement = `
select process, queue, host, prefetch, concurrency, held, acknowledged, redelivered, dead, began_at
from   queue.consumer
where  seen_at > now() - make_interval(secs => $1)
order by queue, began_at, process`

// Consumer is a consumer somewhere, as it said last.
type Consumer struct {
	Process, Queue, Host            string
	Prefetch, Concurrency, Held     int
	Acknowledged, Redelivered, Dead int64
	Began                           time.Time
}

// Consumers returns who consumes, everywhere.
func Consumers(ctx context.Context, db *postgres.DB) ([]Consumer, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (c Consumer, err error) {
		err = columns(&c.Process, &c.Queue, &c.Host, &c.Prefetch, &c.Concurrency, &c.Held, &c.Acknowledged, &c.Redelivered, &c.Dead, &c.Began)
		return c, err
	}, consumersStatement, seenWithin.Seconds())
}

const buryStatement = `
insert into queue.dead_letter (queue, id, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, history, last_error, body)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (queue, id) do nothing`

// Bury keeps a dead letter. The same twice is once.
func Bury(ctx context.Context, q postgres.Querier, l Letter) error {
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
	_, err := postgres.Exec(ctx, q, buryStatement, l.Queue, l.ID, l.Count, l.Published, l.Exchange, l.RoutingKey, l.Type, l.Traceparent, headers, history, l.Error, body)
	return err
}

const letterCountsStatement = `
select queue, count(*)
from   queue.dead_letter
group by queue`

type letterCount struct {
	queue string
	count int64
}

// LetterCounts returns how many dead letters each queue has.
func LetterCounts(ctx context.Context, db *postgres.DB) (map[string]int64, error) {
	read, err := postgres.Collect(ctx, db, func(columns func(...any) error) (c letterCount, err error) {
		err = columns(&c.queue, &c.count)
		return c, err
	}, letterCountsStatement)
	counts := make(map[string]int64, len(read))
	for _, c := range read {
		counts[c.queue] = c.count
	}
	return counts, err
}

// Edge is a dead letter's place in the list.
type Edge struct {
	Died  time.Time `json:"t"`
	Queue string    `json:"q"`
	ID    int64     `json:"i"`
}

// FirstEdge is before all dead letters.
func FirstEdge() Edge { return Edge{Died: time.Now().AddDate(1, 0, 0)} }

const lettersStatement = `
select queue, id, died_at, published_at, delivery_count, exchange, routing_key, type, traceparent, headers, last_error
from   queue.dead_letter
where  ($1 or queue = $2)
  and  (died_at, queue, id) < ($3, $4, $5)
order by died_at desc, queue desc, id desc
limit  $6`

// Letters returns dead letters without body and history, the latest first, from
// before an edge: of a queue, or of all when queue is nil.
func Letters(ctx context.Context, db *postgres.DB, queue *string, before Edge, most int) ([]Letter, error) {
	name := ""
	if queue != nil {
		name = *queue
	}
	return postgres.Collect(ctx, db, func(columns func(...any) error) (l Letter, err error) {
		var headers []byte
		if err = columns(&l.Queue, &l.ID, &l.Died, &l.Published, &l.Count, &l.Exchange, &l.RoutingKey, &l.Type, &l.Traceparent, &headers, &l.Error); err == nil && headers != nil {
			err = json.Unmarshal(headers, &l.Headers)
		}
		return l, err
	}, lettersStatement, queue == nil, name, before.Died, before.Queue, before.ID, most)
}

const letterStatement = `
select died_at, published_at, delivery_count, exchange, routing_key, type, traceparent, headers, history, last_error, body
from   queue.dead_letter
where  queue = $1
  and  id = $2`

// FindLetter returns a dead letter, whole; ErrNoLetter when it is not there.
func FindLetter(ctx context.Context, db *postgres.DB, queue string, id int64) (Letter, error) {
	l, found, err := postgres.One(ctx, db, func(columns func(...any) error) (l Letter, err error) {
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
	}, letterStatement, queue, id)
	if err == nil && !found {
		err = ErrNoLetter
	}
	return l, err
}

const discardStatement = `
delete from queue.dead_letter
where  queue = $1
  and  ($2 or id = any($3))`

// Discard deletes dead letters of a queue for good, all of them when no ids are
// given, and returns how many there were.
func Discard(ctx context.Context, db *postgres.DB, queue string, ids []int64) (int, error) {
	n, err := postgres.Exec(ctx, db, discardStatement, queue, len(ids) == 0, pq.Array(ids))
	return int(n), err
}

const outboxStatement = `
select count(*), coalesce(min(published_at), 'epoch')
from   queue.outbox`

// Outbox is what waits for a broker elsewhere.
type Outbox struct {
	Count  int64
	Oldest time.Time
}

// OutboxDepth returns how much waits in the outbox.
func OutboxDepth(ctx context.Context, db *postgres.DB) (Outbox, error) {
	o, _, err := postgres.One(ctx, db, func(columns func(...any) error) (o Outbox, err error) {
		err = columns(&o.Count, &o.Oldest)
		return o, err
	}, outboxStatement)
	if o.Count == 0 {
		o.Oldest = time.Time{}
	}
	return o, err
}

const sweepStatement = `
with vanished as (
    delete from queue.consumer
    where  seen_at < now() - make_interval(secs => $1)
), forgotten as (
    delete from queue.handled
    where  handled_at < now() - make_interval(secs => $2)
), gone as (
    delete from queue.queue
    where  expires_at < now()
    returning id
)
delete from queue.message
where  queue_id in (select id from gone)`

func sweep(ctx context.Context, db *postgres.DB) error {
	_, err := postgres.Exec(ctx, db, sweepStatement, (2 * seenWithin).Seconds(), handledLife.Seconds())
	return err
}

const dropExclusiveStatement = `
with gone as (
    delete from queue.queue
    where  id = $1
      and  expires_at is not null
    returning id
)
delete from queue.message
where  queue_id in (select id from gone)`

// DropExclusive deletes an exclusive queue with what is in it.
func DropExclusive(ctx context.Context, db *postgres.DB, id int) error {
	_, err := postgres.Exec(ctx, db, dropExclusiveStatement, id)
	return err
}
