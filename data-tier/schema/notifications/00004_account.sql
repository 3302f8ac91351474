-- An account's events are found when it is closed.

-- +goose Up
create index event_of_account on notifications.event (account) where account is not null;

-- +goose Down
drop index notifications.event_of_account;
