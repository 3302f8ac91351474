-- Sign-up looks for handles that look like the new one. The expression is the one
-- in the statements of the logic tier's accounts module. It is not unique: accounts
-- whose handles look alike already keep them.

-- +goose Up
create index account_by_skeleton on accounts.account (replace(replace(translate(handle, '01', 'ol'), 'rn', 'm'), 'vv', 'w'));

-- +goose Down
drop index accounts.account_by_skeleton;
