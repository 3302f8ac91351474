-- Addresses of channels whose accounts were closed: nobody else gets one, so that
-- links to it never lead to somebody else's talks.

-- +goose Up
create table talks.retired_channel (
    slug       text primary key,
    retired_at timestamptz not null default now()
);

-- +goose Down
drop table talks.retired_channel;
