-- The message queue, in the words of AMQP 0-9-1: exchanges route messages by
-- their bindings to queues, which keep them until a consumer acknowledges.

-- +goose Up
create table queue.exchange (
    name text primary key check (octet_length(name) between 1 and 255),
    type text not null check (type in ('direct', 'topic', 'fanout'))
);

create table queue.queue (
    id             integer generated always as identity primary key,
    name           text not null unique check (octet_length(name) between 1 and 255),
    -- After so many deliveries without an acknowledgement a message is poison
    -- and goes to the dead letters.
    delivery_limit integer not null check (delivery_limit > 0)
);

create table queue.binding (
    exchange text not null references queue.exchange (name),
    queue_id integer not null references queue.queue (id) on delete cascade,
    -- direct: the routing key; topic: words with * and #; fanout: not looked at.
    pattern  text not null check (octet_length(pattern) <= 255),
    -- The topic pattern as a regular expression, made when it is bound.
    matches  text not null,
    primary key (exchange, queue_id, pattern)
);

create sequence queue.message_id;

create table queue.message (
    queue_id       integer not null,
    id             bigint not null,
    -- Invisible to consumers before: a delay, a pause before a retry, or the
    -- end of the lease of the consumer that has it now.
    available_at   timestamptz not null,
    -- Who has it now; an acknowledgement under an older lease counts nothing.
    lease          bigint not null default 0,
    delivery_count integer not null default 0,
    published_at   timestamptz not null,
    exchange       text not null,
    routing_key    text not null,
    type           text not null,
    traceparent    text not null,
    last_error     text not null default '',
    body           bytea not null check (octet_length(body) <= 65536),
    primary key (queue_id, id)
) with (
    -- A message is written once, changed by its lease, deleted. available_at is
    -- in no index and a third of each page stays free, so a lease is a
    -- heap-only update: the index does not grow under churn.
    fillfactor = 66,
    -- Deleted rows at the head are read over again by every fetch until they
    -- are vacuumed: do so after a thousand, whatever the table's size.
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

create table queue.dead_letter (
    id             bigint primary key,
    queue          text not null,
    died_at        timestamptz not null default now(),
    delivery_count integer not null,
    published_at   timestamptz not null,
    exchange       text not null,
    routing_key    text not null,
    type           text not null,
    traceparent    text not null,
    last_error     text not null,
    body           bytea not null
);

-- publish adds a message to every queue that a binding of the exchange routes
-- it to, once each, and returns those queues. It is all that a module may do
-- here, inside its own transaction; hence security definer.
-- +goose StatementBegin
create function queue.publish(exchange text, routing_key text, type text, traceparent text, body bytea)
returns integer[]
language plpgsql security definer set search_path = ''
as $$
declare
    kind    text;
    reached integer[];
begin
    select e.type into kind from queue.exchange e where e.name = publish.exchange;
    if not found then
        raise exception 'exchange "%" is not declared', publish.exchange
            using errcode = 'undefined_object', hint = 'declare it before publishing to it';
    end if;
    with routed as (
        insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, body)
        select b.queue_id, nextval('queue.message_id'), now(), now(), $1, $2, $3, $4, $5
        from (
            select distinct b.queue_id
            from queue.binding b
            where b.exchange = $1
              and case kind
                  when 'fanout' then true
                  when 'direct' then b.pattern = $2
                  else $2 ~ b.matches
              end
        ) b
        returning queue_id
    )
    select coalesce(array_agg(queue_id), '{}') into reached from routed;
    return reached;
end
$$;
-- +goose StatementEnd

revoke execute on function queue.publish from public;
grant usage on schema queue to accounts, talks, following, notifications;
grant execute on function queue.publish to accounts, talks, following, notifications;

-- +goose Down
drop function queue.publish;
drop table queue.dead_letter, queue.message, queue.binding, queue.queue, queue.exchange;
drop sequence queue.message_id;
