-- Who follows which channel.

-- +goose Up

-- The primary key is the list of a channel's followers in order: a fan-out
-- reads it page by page from the index alone.
create table following.follow (
    channel_id    bigint not null,
    account_id    bigint not null,
    channel       text not null,
    channel_title text not null,
    followed_at   timestamptz not null default now(),
    primary key (channel_id, account_id)
);
create index follow_of_account on following.follow (account_id, followed_at desc, channel_id desc);

-- +goose Down
drop table following.follow;
