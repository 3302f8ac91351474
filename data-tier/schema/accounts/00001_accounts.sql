-- Who someone is: accounts, sessions, attempts to sign in.

-- +goose Up
create table accounts.account (
    id           bigint generated always as identity primary key,
    handle       text not null unique check (handle ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'),
    display_name text not null,
    -- argon2id in PHC string format: a later change of its cost is told apart.
    password     text not null,
    created_at   timestamptz not null default now()
);

-- Only the token's SHA-256 is kept: who reads this table cannot sign in with it.
create table accounts.session (
    token_hash bytea primary key check (octet_length(token_hash) = 32),
    account_id bigint not null references accounts.account (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index session_of_account on accounts.session (account_id, created_at);
create index session_expiry on accounts.session (expires_at);

-- Attempts in the window that began at began_at, by what is limited: an
-- account's handle or a browser's address.
create table accounts.attempt (
    key      text primary key,
    began_at timestamptz not null default now(),
    count    integer not null
) with (fillfactor = 80);
create index attempt_began on accounts.attempt (began_at);

-- +goose Down
drop table accounts.attempt, accounts.session, accounts.account;
