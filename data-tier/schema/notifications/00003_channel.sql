-- Followers are told of a channel's talks in the order of their numbers, in whatever
-- order the messages come: how far that is, a row a channel.

-- +goose Up
create table notifications.channel (
    channel bigint primary key,
    through bigint not null
) with (fillfactor = 80);

-- +goose Down
drop table notifications.channel;
