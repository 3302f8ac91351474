-- Files in chunks, the uploads that they come by, the recordings that they
-- become.

-- +goose Up

-- A file belongs to exactly one upload, part or recording, or it is removed: its
-- chunks then go in batches, and it after them.
create table media.file (
    id          bigint generated always as identity primary key,
    -- Whose; 0 is the operator.
    account     bigint not null,
    -- Made for the account by TechTalks, not sent by it.
    made        boolean not null,
    size        bigint not null default 0 check (size >= 0),
    -- The state of SHA-256 over what is there; empty before the first byte and
    -- after the last.
    digest      bytea not null default '',
    -- Once the file is whole.
    sha256      bytea check (octet_length(sha256) = 32),
    removed     boolean not null default false,
    update_time timestamptz not null default now()
    -- A file's row changes with every chunk: half of each page stays free, so that
    -- this touches no index.
) with (fillfactor = 50);
create index file_of_account on media.file (account, made) where not removed;
create index file_removed on media.file (id) where removed;

-- Every chunk of a file but the last has 262,144 bytes. No foreign key to file: it
-- would be looked up with every chunk, for a promise that the only writer keeps.
create table media.chunk (
    file_id bigint not null,
    number  integer not null check (number >= 0),
    bytes   bytea not null check (octet_length(bytes) between 1 and 262144),
    primary key (file_id, number)
);
-- Recordings are compressed already, and of what is not compressed Postgres can
-- read a range without the rest.
alter table media.chunk alter column bytes set storage external;

create table media.upload (
    id             text primary key check (id ~ '^[a-z2-7]{26}$'),
    account        bigint not null,
    file_id        bigint not null unique references media.file (id),
    -- How many bytes it will have; null while that is not known.
    size           bigint check (size > 0),
    -- What its SHA-256 must be; null when that is not known.
    claimed_sha256 bytea check (octet_length(claimed_sha256) = 32),
    file_name      text not null,
    content_type   text not null,
    -- The request that last asked for a recording of it.
    request        text not null default '',
    create_time    timestamptz not null default now(),
    expire_time    timestamptz not null
);
create index upload_expires on media.upload (expire_time);

-- What a worker has made of an upload so far.
create table media.part (
    operation text not null,
    name      text not null check (name ~ '^(poster|480p|segment-[0-9]{5})$'),
    upload_id text not null,
    file_id   bigint not null unique references media.file (id),
    -- Pixels; 0 when not known.
    width     integer not null default 0,
    height    integer not null default 0,
    primary key (operation, name)
);
create index part_of_upload on media.part (upload_id);

create table media.recording (
    id          text primary key check (id ~ '^[a-z2-7]{26}$'),
    account     bigint not null,
    -- What it was made of, and by which operation: made again, it is this one.
    upload_id   text not null unique,
    operation   text not null unique,
    request     text not null,
    -- Null when it could not be found out.
    duration_ms bigint check (duration_ms > 0),
    left_out    text[] not null,
    create_time timestamptz not null default now()
);

create table media.recording_file (
    recording_id text not null references media.recording (id),
    name         text not null check (name in ('original', '480p', 'poster')),
    file_id      bigint not null unique references media.file (id),
    -- The place among what can be played, the best first; 0 for the poster.
    place        integer not null,
    content_type text not null,
    file_name    text not null,
    -- Pixels; 0 when not known.
    width        integer not null,
    height       integer not null,
    primary key (recording_id, name)
);

-- +goose Down
drop table media.recording_file, media.recording, media.part, media.upload, media.chunk, media.file;
