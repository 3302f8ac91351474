package postgresqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/queue"
	"techtalks.example/proto/transport"
)

// Two processes that start together declare one after the other.
const lockTopologyStatement = `
select pg_advisory_xact_lock(hashtext('queue.topology'))`

func lockTopology(ctx context.Context, tx *postgres.Tx) error {
	_, err := postgres.Exec(ctx, tx, lockTopologyStatement)
	return err
}

const declareExchangeStatement = `
insert into queue.exchange (name, type)
values ($1, $2)
on conflict (name) do update set name = excluded.name
returning type`

func declareExchange(ctx context.Context, tx *postgres.Tx, e queue.Exchange) (queue.ExchangeType, error) {
	found, _, err := postgres.One(ctx, tx, postgres.Value[string], declareExchangeStatement, e.Name, string(e.Type))
	return queue.ExchangeType(found), err
}

const declareQueueStatement = `
insert into queue.queue (name, delivery_limit)
values ($1, $2)
on conflict (name) do update set delivery_limit = excluded.delivery_limit
returning id`

const unbindStatement = `
delete from queue.binding
where queue_id = $1`

const bindStatement = `
insert into queue.binding (exchange, queue_id, pattern, matches)
values ($1, $2, $3, $4)`

func declareQueue(ctx context.Context, tx *postgres.Tx, declared queue.Queue) error {
	limit := declared.DeliveryLimit
	if limit == 0 {
		limit = queue.DefaultDeliveryLimit
	}
	id, _, err := postgres.One(ctx, tx, postgres.Value[int], declareQueueStatement, declared.Name, limit)
	if err != nil {
		return err
	}
	if _, err := postgres.Exec(ctx, tx, unbindStatement, id); err != nil {
		return err
	}
	for _, b := range declared.Bindings {
		if err := bind(ctx, tx, id, b); err != nil {
			return err
		}
	}
	return nil
}

const exchangeTypeStatement = `
select type
from   queue.exchange
where  name = $1`

// Only a topic exchange's patterns are made of words, and matched by an
// expression.
func bind(ctx context.Context, tx *postgres.Tx, queueID int, b queue.Binding) error {
	of, declared, err := postgres.One(ctx, tx, postgres.Value[string], exchangeTypeStatement, b.Exchange)
	if err != nil {
		return err
	}
	if !declared {
		return fmt.Errorf("bound to exchange %q, which is not declared: declare it", b.Exchange)
	}
	expression := ""
	if queue.ExchangeType(of) == queue.Topic {
		if expression, err = queue.TopicExpression(b.Pattern); err != nil {
			return err
		}
	}
	_, err = postgres.Exec(ctx, tx, bindStatement, b.Exchange, queueID, b.Pattern, expression)
	return err
}

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
select queue.publish($1, $2, $3, $4, $5)`

func publish(ctx context.Context, tx *postgres.Tx, m queue.Message) ([]int64, error) {
	if len(m.RoutingKey) > queue.MaxRoutingKey {
		return nil, fmt.Errorf("routing key of %d bytes: use at most %d", len(m.RoutingKey), queue.MaxRoutingKey)
	}
	body, err := proto.Marshal(m.Body)
	if err != nil {
		return nil, err
	}
	if len(body) > queue.MaxBody {
		return nil, fmt.Errorf("body of %d bytes: use at most %d, and name what is bigger", len(body), queue.MaxBody)
	}
	traceparent := ""
	if trace, ok := transport.TraceFrom(ctx); ok {
		traceparent = trace.String()
	}
	reached, _, err := postgres.One(ctx, tx, postgres.Value[pq.Int64Array], publishStatement, m.Exchange, m.RoutingKey, m.Type, traceparent, body)
	return reached, err
}

// A lease makes a message invisible until it ends; the next lease has another
// number, so that whoever held the last one can no longer acknowledge.
const leaseStatement = `
update queue.message m
set    lease          = $3,
       available_at   = now() + make_interval(secs => $4),
       delivery_count = m.delivery_count + 1
from   (select id
        from   queue.message
        where  queue_id = $1
          and  available_at <= now()
        order by id
        limit  $2
        for update skip locked) next
where  m.queue_id = $1
  and  m.id = next.id
returning m.id, m.exchange, m.routing_key, m.type, m.traceparent, m.body, m.delivery_count, m.published_at`

func lease(ctx context.Context, db *postgres.DB, queueID, most int, number int64, length time.Duration) ([]queue.Delivery, error) {
	return postgres.Collect(ctx, db, func(columns func(...any) error) (d queue.Delivery, err error) {
		err = columns(&d.ID, &d.Exchange, &d.RoutingKey, &d.Type, &d.Traceparent, &d.Body, &d.Count, &d.Published)
		return d, err
	}, leaseStatement, queueID, most, number, length.Seconds())
}

const extendStatement = `
update queue.message
set    available_at = now() + make_interval(secs => $4)
where  queue_id = $1
  and  id = any($2)
  and  lease = $3
returning id`

// extend renews leases and returns which of them were still held.
func extend(ctx context.Context, db *postgres.DB, queueID int, ids []int64, number int64, length time.Duration) ([]int64, error) {
	return postgres.Collect(ctx, db, postgres.Value[int64], extendStatement, queueID, pq.Array(ids), number, length.Seconds())
}

const acknowledgeStatement = `
delete from queue.message
where  queue_id = $1
  and  id = any($2)
  and  lease = $3`

func acknowledge(ctx context.Context, db *postgres.DB, queueID int, ids []int64, number int64) error {
	_, err := postgres.Exec(ctx, db, acknowledgeStatement, queueID, pq.Array(ids), number)
	return err
}

// The count goes back too when nothing was tried (delivered $6 times less), so
// that a consumer that drains does not bring messages nearer to their limit.
const putBackStatement = `
update queue.message
set    available_at   = now() + make_interval(secs => $4),
       lease          = 0,
       last_error     = $5,
       delivery_count = delivery_count - $6
where  queue_id = $1
  and  id = $2
  and  lease = $3`

func putBack(ctx context.Context, db *postgres.DB, queueID int, id, number int64, pause time.Duration, why string, untried int) error {
	_, err := postgres.Exec(ctx, db, putBackStatement, queueID, id, number, pause.Seconds(), why, untried)
	return err
}

const buryStatement = `
with dead as (
    delete from queue.message
    where  queue_id = $1
      and  id = $2
      and  lease = $3
    returning *
)
insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, last_error, body)
select d.id, q.name, d.delivery_count, d.published_at, d.exchange, d.routing_key, d.type, d.traceparent, $4, d.body
from   dead d
join   queue.queue q on q.id = d.queue_id`

func bury(ctx context.Context, db *postgres.DB, queueID int, id, number int64, why string) error {
	_, err := postgres.Exec(ctx, db, buryStatement, queueID, id, number, why)
	return err
}

const notifyStatement = `
select pg_notify('` + wakeChannel + `', $1)`

func notify(ctx context.Context, db *postgres.DB, payload string) error {
	_, err := postgres.Exec(ctx, db, notifyStatement, payload)
	return err
}
