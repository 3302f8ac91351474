-- Whose an export is, so that what is kept of it can be deleted when the account is
-- closed.

-- +goose Up
create table transfers.export (
    operation  text primary key,
    account_id bigint not null,
    created_at timestamptz not null default now()
);
create index export_of_account on transfers.export (account_id);
create index export_age on transfers.export (created_at);

-- +goose Down
drop table transfers.export;
