-- More modules publish.

-- +goose Up
grant usage on schema queue to media, transfers, operations;
grant execute on function queue.publish to media, transfers, operations;

-- +goose Down
revoke execute on function queue.publish from media, transfers, operations;
revoke usage on schema queue from media, transfers, operations;
