-- The whole contract: headers exchanges, headers, priority, delay, exclusive
-- queues, the history of a message that failed; the outbox of an engine that
-- keeps messages elsewhere; who consumes; what was handled; test messages.

-- +goose Up
alter table queue.exchange
    drop constraint exchange_type_check,
    add constraint exchange_type_check check (type in ('direct', 'topic', 'fanout', 'headers'));

alter table queue.queue
    -- An exclusive queue is its consumer's alone, who says before then that it
    -- is there. Null: the queue stays.
    add column expires_at timestamptz;

alter table queue.binding
    -- headers: what a message's must hold, all of it or any. The pattern is
    -- their text, so that the key tells one such binding from another.
    add column headers jsonb,
    add column any_header boolean not null default false;

-- A message of priority p has the id sequence - p * 2^52: the primary key is the
-- order of delivery, and needs no second index. Its copies in several queues
-- share the id.
alter table queue.message
    -- A lease changes every row of a page at once, so that a heap-only update of
    -- each needs as much room again.
    set (fillfactor = 48),
    add column headers jsonb,
    -- Deliveries that failed, each with its count, time, host and error.
    add column history jsonb;

alter table queue.dead_letter
    drop constraint dead_letter_pkey,
    add primary key (queue, id),
    add column headers jsonb,
    add column history jsonb;

comment on column queue.dead_letter.queue is 'empty: no binding of the exchange matched';

-- Messages on their way to a broker elsewhere: written by the transaction that
-- makes them true, shipped in the order of their ids, deleted when the broker
-- has confirmed them.
create table queue.outbox (
    id             bigint not null,
    -- The one queue it goes to, for a message that failed or was a dead letter;
    -- empty: those that its exchange routes it to.
    queue          text not null default '',
    -- Not shipped before: a delay, or a pause before a retry.
    available_at   timestamptz not null,
    delivery_count integer not null default 0,
    published_at   timestamptz not null,
    exchange       text not null,
    routing_key    text not null,
    type           text not null,
    traceparent    text not null,
    headers        jsonb,
    history        jsonb,
    body           bytea not null check (octet_length(body) <= 65536),
    primary key (id, queue)
) with (
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

-- Who consumes, as the processes say themselves every few seconds; the counts
-- are since the process began.
create table queue.consumer (
    process      text not null,
    queue        text not null,
    host         text not null,
    engine       text not null,
    prefetch     integer not null,
    concurrency  integer not null,
    held         integer not null,
    acknowledged bigint not null,
    redelivered  bigint not null,
    dead         bigint not null,
    began_at     timestamptz not null,
    seen_at      timestamptz not null,
    primary key (process, queue)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Which message had its effect, written in the effect's own transaction.
create table queue.handled (
    queue      text not null,
    message_id bigint not null,
    handled_at timestamptz not null default now(),
    primary key (queue, message_id)
);
create index handled_at on queue.handled using brin (handled_at);

create table queue.test_message (
    id      bigint primary key,
    sent_at timestamptz not null default now(),
    -- As it was asked for (techtalks.queue.v1.SendTestMessageRequest).
    request bytea not null
);

create table queue.test_delivery (
    message_id     bigint not null references queue.test_message (id) on delete cascade,
    queue          text not null,
    delivery_count integer not null,
    host           text not null,
    process        text not null,
    outcome        text not null check (outcome in ('acknowledged', 'failed', 'rejected')),
    delivered_at   timestamptz not null default clock_timestamp(),
    primary key (message_id, queue, delivery_count, process)
);

-- next_id returns the id of a message of a priority.
-- +goose StatementBegin
create function queue.next_id(priority integer) returns bigint
language sql as $$
    select nextval('queue.message_id') - priority::bigint * 4503599627370496
$$;
-- +goose StatementEnd

-- route returns the queues that an exchange routes a message to, each once: none
-- for an exchange that is not declared. One statement, so that it becomes part of
-- the one that calls it.
-- +goose StatementBegin
create function queue.route(exchange text, routing_key text, headers jsonb)
returns setof integer
language sql stable as $$
    select distinct b.queue_id
    from   queue.binding b
    where  b.exchange = route.exchange
      and  (select q.expires_at is null or q.expires_at > now() from queue.queue q where q.id = b.queue_id)
      and  case (select e.type from queue.exchange e where e.name = route.exchange)
               when 'fanout' then true
               when 'direct' then b.pattern = route.routing_key
               when 'topic' then route.routing_key ~ b.matches
               when 'headers' then case when b.any_header
                   then exists (select from jsonb_each_text(b.headers) h where route.headers ->> h.key = h.value)
                   else coalesce(route.headers, '{}') @> b.headers
               end
           end
$$;
-- +goose StatementEnd

-- must_be_declared raises unless an exchange is declared.
-- +goose StatementBegin
create function queue.must_be_declared(exchange text) returns void
language plpgsql as $$
begin
    if not exists (select from queue.exchange e where e.name = must_be_declared.exchange) then
        raise exception 'exchange "%" is not declared', exchange
            using errcode = 'undefined_object', hint = 'declare it before publishing to it';
    end if;
end
$$;
-- +goose StatementEnd

-- publish adds a message to every queue that its exchange routes it to, and
-- returns its id and those queues. One that no binding matches is kept among the
-- dead letters, where somebody sees it. This, put_in_outbox and handle_once are
-- all that a module may do here, inside its own transaction; hence security
-- definer.
-- +goose StatementBegin
create function queue.publish(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision,
    out id bigint, out reached integer[])
language plpgsql security definer set search_path = ''
as $$
begin
    id := queue.next_id(priority);
    with put as (
        insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
        select r.queue_id, publish.id, now() + make_interval(secs => delay), now(), $1, $2, $3, $4, $6, $5
        from   queue.route($1, $2, $6) as r (queue_id)
        returning queue_id
    )
    select array_agg(put.queue_id) into reached from put;
    if reached is null then
        perform queue.must_be_declared(exchange);
        reached := '{}';
        insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, last_error, body)
        values (publish.id, '', 0, now(), $1, $2, $3, $4, $6, 'no binding of the exchange matches', $5);
    end if;
end
$$;
-- +goose StatementEnd

-- put_in_outbox keeps a message for the broker elsewhere, and returns its id.
-- +goose StatementBegin
create function queue.put_in_outbox(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision)
returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
    made bigint := queue.next_id(priority);
begin
    perform queue.must_be_declared(exchange);
    insert into queue.outbox (id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
    values (made, now() + make_interval(secs => delay), now(), $1, $2, $3, $4, $6, $5);
    return made;
end
$$;
-- +goose StatementEnd

-- handle_once says whether a message's effect is new; asked in the transaction
-- that makes the effect, it is so once.
-- +goose StatementBegin
create function queue.handle_once(queue text, message_id bigint)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
    insert into queue.handled (queue, message_id) values ($1, $2) on conflict do nothing;
    return found;
end
$$;
-- +goose StatementEnd

revoke execute on all functions in schema queue from public;
grant execute on all functions in schema queue to queue;
grant execute on function
    queue.publish(text, text, text, text, bytea, jsonb, integer, double precision),
    queue.put_in_outbox, queue.handle_once
to accounts, talks, following, notifications, media, transfers, operations;

-- +goose Down
drop function queue.handle_once, queue.put_in_outbox, queue.must_be_declared, queue.route, queue.next_id,
    queue.publish(text, text, text, text, bytea, jsonb, integer, double precision);
drop table queue.test_delivery, queue.test_message, queue.handled, queue.consumer, queue.outbox;
alter table queue.dead_letter drop column history, drop column headers, drop constraint dead_letter_pkey, add primary key (id);
alter table queue.message set (fillfactor = 66), drop column history, drop column headers;
alter table queue.binding drop column any_header, drop column headers;
alter table queue.queue drop column expires_at;
alter table queue.exchange
    drop constraint exchange_type_check,
    add constraint exchange_type_check check (type in ('direct', 'topic', 'fanout'));
