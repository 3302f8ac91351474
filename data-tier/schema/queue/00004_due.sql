-- A message without a delay may be delivered whatever the clock says: one that was
-- published before the clock was set back would wait until it is as late again.

-- +goose Up
-- due returns when a message that is published now may be delivered.
-- +goose StatementBegin
create function queue.due(delay double precision) returns timestamptz
language sql stable as $$
    select case when delay > 0 then now() + make_interval(secs => delay) else timestamptz 'epoch' end
$$;
-- +goose StatementEnd
revoke execute on function queue.due from public;
grant execute on function queue.due to queue;

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
    values (made, now() + make_interval(secs => delay), now(), $1, $2, $3, $4, $6, $5);
    return made;
end
$$;
-- +goose StatementEnd

drop function queue.due;
