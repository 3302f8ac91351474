-- Batches of an import: what came of each, so that one that is handed over again
-- by a worker that goes on for another is counted as it was.

-- +goose Up
create table talks.batch (
    id               text primary key,
    channels_created bigint not null,
    talks_created    bigint not null,
    created_at       timestamptz not null default now()
);
create index batch_age on talks.batch (created_at);

-- +goose Down
drop table talks.batch;
