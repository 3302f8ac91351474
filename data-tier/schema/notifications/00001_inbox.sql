-- Each account's inbox, ordered by arrival.

-- +goose Up

-- Names the database in which arrivals are counted. A restored database may
-- count the same numbers again for other items: it gets another epoch.
create table notifications.epoch (
    one   boolean primary key default true check (one),
    epoch text not null check (epoch ~ '^[0-9a-z]{8}$')
);
insert into notifications.epoch (epoch) values (substr(md5(gen_random_uuid()::text), 1, 8));

-- An item's number in the order of arrival. It is drawn under a lock on the
-- inbox's lane that is held until the commit: in one inbox, whoever draws the
-- smaller number also commits first. Not cached: each session would keep
-- numbers back.
create sequence notifications.arrival cache 1;

-- What there is to tell, once, however many are told. It also keeps how far
-- its fan-out is: a chunk of inbox rows and this checkpoint commit together, so
-- a fan-out that is interrupted goes on where it stopped, and no row needs a
-- unique key of its own.
create table notifications.event (
    id            bigint generated always as identity primary key,
    talk          text not null unique,
    title         text not null,
    channel       text not null,
    channel_title text not null,
    publish_time  timestamptz not null,
    last_account  bigint not null default 0,
    complete      boolean not null default false
) with (fillfactor = 80);

-- No foreign key to event: it would cost a third of the fan-out's speed for a
-- promise that the only writer keeps anyway.
create table notifications.inbox (
    account bigint not null,
    arrival bigint not null,
    event   bigint not null,
    read    boolean not null default false,
    primary key (account, arrival)
);

-- What is known of an inbox as a whole; no row: nothing read, nothing trimmed.
create table notifications.reader (
    account         bigint primary key,
    -- Everything up to it counts as read.
    read_through    bigint not null default 0,
    -- Everything up to it is no longer there.
    trimmed_through bigint not null default 0
);

-- +goose Down
drop table notifications.reader, notifications.inbox, notifications.event, notifications.epoch;
drop sequence notifications.arrival;
