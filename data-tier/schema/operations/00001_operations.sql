-- The handles on long work: how far each is, and how it ended.

-- +goose Up

-- Names the database in which changes are counted; see notifications.epoch.
create table operations.epoch (
    one   boolean primary key default true check (one),
    epoch text not null check (epoch ~ '^[0-9a-z]{8}$')
);
insert into operations.epoch (epoch) values (substr(md5(gen_random_uuid()::text), 1, 8));

create table operations.operation (
    id               text primary key check (id ~ '^[a-z2-7]{26}$'),
    -- The order in which they were asked for.
    number           bigint not null generated always as identity,
    -- 0 is the operator.
    account_id       bigint not null,
    request_id       text not null,
    kind             text not null,
    title            text not null,
    subject          text not null,
    state            text not null default 'waiting'
                     check (state in ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
    -- Whether it has one of the account's places: its message was published.
    dispatched       boolean not null,
    cancel_requested boolean not null default false,
    done_count       bigint not null default 0,
    total_count      bigint not null default 0,
    unit             text not null default '',
    -- Which worker has it: what an earlier one reports counts nothing.
    attempt          bigint not null default 0,
    -- When that one began, and where: its speed tells when the work may end.
    attempt_began_at timestamptz,
    attempt_done     bigint not null default 0,
    -- Which change this is.
    revision         bigint not null default 1,
    steps            integer not null default 0,
    input            bytea not null,
    checkpoint       bytea not null default '',
    -- google.protobuf.Any, and google.rpc.Status, as they are encoded.
    response         bytea,
    error            bytea,
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    updated_at       timestamptz not null default now(),
    ended_at         timestamptz,
    unique (account_id, request_id),
    check ((ended_at is null) = (state in ('waiting', 'running')))
) with (fillfactor = 70);
create index operation_of_account on operations.operation (account_id, number desc);
create index operation_latest on operations.operation (number desc);
create index operation_under_way on operations.operation (account_id, number) where ended_at is null;
create index operation_ended on operations.operation (ended_at) where ended_at is not null;

-- What happened, in order.
create table operations.step (
    operation_id text not null references operations.operation (id) on delete cascade,
    number       integer not null,
    at           timestamptz not null default now(),
    text         text not null,
    primary key (operation_id, number)
);

-- +goose Down
drop table operations.step, operations.operation, operations.epoch;
