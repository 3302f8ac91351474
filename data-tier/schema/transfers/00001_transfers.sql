-- What imports refused, and how far archives are.

-- +goose Up

-- Whose an import is, and what it was asked for with: a form sent twice is one
-- operation, also when its upload is gone.
create table transfers.import (
    operation  text primary key,
    -- 0 is the operator.
    account_id bigint not null,
    request_id uuid not null,
    upload     text not null,
    title      text not null,
    created_at timestamptz not null default now(),
    unique (account_id, request_id)
);
create index import_age on transfers.import (created_at);

-- Files that could not be taken, by their place in the archive: a worker that
-- goes on where another was stopped refuses none twice.
create table transfers.rejection (
    operation  text not null,
    number     bigint not null,
    path       text not null,
    reason     text not null,
    created_at timestamptz not null default now(),
    primary key (operation, number)
);
create index rejection_age on transfers.rejection (created_at);

-- What an archive that is being written has already: its directory is written
-- last, perhaps by another worker than the one that wrote the entry.
create table transfers.archived (
    operation       text not null,
    number          bigint not null,
    -- Where it begins.
    start           bigint not null,
    path            text not null,
    stored          boolean not null,
    crc32           bigint not null,
    compressed_size bigint not null,
    size            bigint not null,
    created_at      timestamptz not null default now(),
    primary key (operation, number)
);
create index archived_age on transfers.archived (created_at);

-- +goose Down
drop table transfers.archived, transfers.rejection, transfers.import;
