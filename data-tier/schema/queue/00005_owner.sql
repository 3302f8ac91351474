-- An exchange belongs to the module that declares that it publishes to it, and a
-- queue to the module that consumes it: no other module's role publishes to the
-- one or marks the other's messages as handled. Without this check, code running
-- as one module could forge another module's events.

-- +goose Up
alter table queue.exchange
    -- A role. Null until a program that knows its own exchanges declares them.
    add column owner text;
alter table queue.queue
    add column owner text;

update queue.exchange
set    owner = case when name like 'test.%' then 'queue' else name end
where  name in ('talks', 'media', 'operations')
   or  name like 'test.%';
update queue.queue
set    owner = split_part(name, '.', 1)
where  split_part(name, '.', 1) in ('talks', 'following', 'notifications', 'media', 'transfers', 'operations');

-- must_own_exchange raises unless an exchange is declared and the role that logged
-- in owns it.
-- +goose StatementBegin
create function queue.must_own_exchange(exchange text) returns void
language plpgsql stable set search_path = ''
as $$
declare
    owner text;
begin
    select e.owner into owner from queue.exchange e where e.name = must_own_exchange.exchange;
    if not found then
        raise exception 'exchange "%" is not declared', exchange
            using errcode = 'undefined_object', hint = 'declare it before publishing to it';
    end if;
    if owner is not null and not pg_has_role(session_user, owner, 'usage') then
        raise exception 'exchange "%" belongs to the module "%", and "%" may not publish to it', exchange, owner, session_user
            using errcode = 'insufficient_privilege', hint = 'publish to an exchange that your module declares as its own';
    end if;
end
$$;
-- +goose StatementEnd
revoke execute on function queue.must_own_exchange from public;
grant execute on function queue.must_own_exchange to queue;

-- +goose StatementBegin
create or replace function queue.publish(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision,
    out id bigint, out reached integer[])
language plpgsql security definer set search_path = ''
as $$
begin
    perform queue.must_own_exchange(exchange);
    id := queue.next_id(priority);
    with put as (
        insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
        select r.queue_id, publish.id, queue.due(delay), now(), $1, $2, $3, $4, $6, $5
        from   queue.route($1, $2, $6) as r (queue_id)
        returning queue_id
    )
    select array_agg(put.queue_id) into reached from put;
    if reached is null then
        reached := '{}';
        insert into queue.dead_letter (id, queue, delivery_count, published_at, exchange, routing_key, type, traceparent, headers, last_error, body)
        values (publish.id, '', 0, now(), $1, $2, $3, $4, $6, 'no binding of the exchange matches', $5);
    end if;
end
$$;
-- +goose StatementEnd

-- The first version of publish, which programs older than headers call.
-- +goose StatementBegin
create or replace function queue.publish(exchange text, routing_key text, type text, traceparent text, body bytea)
returns integer[]
language sql security definer set search_path = ''
as $$
    select p.reached from queue.publish($1, $2, $3, $4, $5, null, 0, 0) p
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function queue.put_in_outbox(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision)
returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
    made bigint := queue.next_id(priority);
begin
    perform queue.must_own_exchange(exchange);
    insert into queue.outbox (id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
    values (made, queue.due(delay), now(), $1, $2, $3, $4, $6, $5);
    return made;
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function queue.handle_once(queue text, message_id bigint)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
    if exists (select from queue.queue q where q.name = $1 and q.owner is not null and not pg_has_role(session_user, q.owner, 'usage')) then
        raise exception 'queue "%" belongs to another module than "%"', $1, session_user
            using errcode = 'insufficient_privilege', hint = 'mark messages of your module''s own queues';
    end if;
    insert into queue.handled (queue, message_id) values ($1, $2) on conflict do nothing;
    return found;
end
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function queue.publish(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision,
    out id bigint, out reached integer[])
language plpgsql security definer set search_path = ''
as $$
begin
    id := queue.next_id(priority);
    with put as (
        insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
        select r.queue_id, publish.id, queue.due(delay), now(), $1, $2, $3, $4, $6, $5
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

-- +goose StatementBegin
create or replace function queue.put_in_outbox(
    exchange text, routing_key text, type text, traceparent text, body bytea, headers jsonb, priority integer, delay double precision)
returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
    made bigint := queue.next_id(priority);
begin
    perform queue.must_be_declared(exchange);
    insert into queue.outbox (id, available_at, published_at, exchange, routing_key, type, traceparent, headers, body)
    values (made, queue.due(delay), now(), $1, $2, $3, $4, $6, $5);
    return made;
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function queue.publish(exchange text, routing_key text, type text, traceparent text, body bytea)
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

-- +goose StatementBegin
create or replace function queue.handle_once(queue text, message_id bigint)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
    insert into queue.handled (queue, message_id) values ($1, $2) on conflict do nothing;
    return found;
end
$$;
-- +goose StatementEnd

drop function queue.must_own_exchange;
alter table queue.queue drop column owner;
alter table queue.exchange drop column owner;
