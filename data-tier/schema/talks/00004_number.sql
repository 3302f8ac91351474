-- What a channel publishes is numbered, so that who tells of it can tell in order.

-- +goose Up
alter table talks.channel add column published_count bigint not null default 0;
-- Null for what was imported, which nobody is told of, and for what is older than
-- this column.
alter table talks.talk add column number bigint;
create unique index talk_number on talks.talk (channel_id, number) where number is not null;

-- +goose Down
alter table talks.talk drop column number;
alter table talks.channel drop column published_count;
