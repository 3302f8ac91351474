-- What a draft's recording was uploaded as, so that a failed publication can be edited
-- and tried again with the same upload.

-- +goose Up
alter table talks.draft add column upload text not null default '';

-- +goose Down
alter table talks.draft drop column upload;
