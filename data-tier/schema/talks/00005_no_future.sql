-- Talks are listed by publishing time, the latest first. An import could set a
-- future one and so hold the top of every list. The logic tier no longer stores
-- future times; talks that have one move to their last change, the import as a
-- rule. A day in the future is not the day a recording was made.

-- +goose Up
update talks.talk set published_at = updated_at where published_at > now();
update talks.talk set recorded_on = null where recorded_on > current_date + 1;

-- +goose Down
-- The old values are not kept.
select;
