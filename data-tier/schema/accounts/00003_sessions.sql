-- People see their sessions and end them, and close their accounts.

-- +goose Up
alter table accounts.session
    -- How a session is named; the token's hash stays inside.
    add column number     bigint not null generated always as identity,
    add column used_at    timestamptz not null default now(),
    -- As the browser names itself.
    add column user_agent text not null default '';
create unique index session_number on accounts.session (number);

-- Of a closed account only this row stays, without a name and with a password that
-- nobody has. It keeps the handle taken: nobody else can pose as its former owner.
alter table accounts.account add column closed_at timestamptz;

-- +goose Down
alter table accounts.account drop column closed_at;
alter table accounts.session drop column user_agent, drop column used_at, drop column number;
