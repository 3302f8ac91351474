-- Recordings that are kept here, and the talks that wait for theirs.

-- +goose Up
alter table talks.talk add column recording text not null default '';

-- A recording is published once, however often it is said to be ready.
create unique index talk_of_recording on talks.talk (recording) where recording > '';

-- A talk as it was typed, for when its recording is ready.
create table talks.draft (
    account_id bigint not null,
    request_id uuid not null,
    channel_id bigint not null references talks.channel (id),
    -- The contract's Talk, as it is encoded.
    talk       bytea not null,
    -- What processes the recording; empty until that is known.
    operation  text not null default '',
    created_at timestamptz not null default now(),
    primary key (account_id, request_id)
);
create index draft_age on talks.draft (created_at);

-- +goose Down
drop table talks.draft;
alter table talks.talk drop column recording;
