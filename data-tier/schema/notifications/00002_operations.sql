-- An inbox tells of the account's own operations too. What an event tells of is
-- its subject: a talk, or an operation.

-- +goose Up
alter table notifications.event rename column talk to subject;
alter table notifications.event
    -- Whose operation it is: the only inbox it goes to. Null for a talk, which
    -- goes to the followers of its channel.
    add column account bigint,
    add column failed  boolean not null default false;

-- +goose Down
delete from notifications.inbox where event in (select id from notifications.event where account is not null);
delete from notifications.event where account is not null;
alter table notifications.event drop column account, drop column failed;
alter table notifications.event rename column subject to talk;
