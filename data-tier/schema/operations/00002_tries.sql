-- How often an operation was begun, but for the times when it was interrupted and was
-- not to blame: that many in vain, and it has failed.

-- +goose Up
alter table operations.operation add column tries integer not null default 0;

-- +goose Down
alter table operations.operation drop column tries;
