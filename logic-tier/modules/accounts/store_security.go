package accounts

import (
	"context"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

const passwordOfStatement = `
select password
from   accounts.account
where  id = $1
  and  closed_at is null`

func (s store) passwordOf(ctx context.Context, account int64) (string, bool, error) {
	return postgres.One(ctx, s.db, postgres.Value[string], passwordOfStatement, account)
}

// A session that was opened with the old password meanwhile waits for this row, or
// is there already and goes with the others: see addSessionStatement.
const changePasswordStatement = `
update accounts.account
set    password = $3
where  id = $1
  and  password = $2
  and  closed_at is null`

const endOthersStatement = `
delete from accounts.session
where  account_id = $1
  and  token_hash <> $2`

// changePassword replaces a password and ends all sessions but one; false, and
// nothing, when the password is no longer the one that was checked.
func (s store) changePassword(ctx context.Context, account int64, before, after string, except []byte) (changed bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		rows, err := postgres.Exec(ctx, tx, changePasswordStatement, account, before, after)
		changed = rows > 0
		if err != nil || !changed {
			return err
		}
		_, err = postgres.Exec(ctx, tx, endOthersStatement, account, except)
		return err
	})
	return changed, err
}

const sessionsStatement = `
select number, user_agent, created_at, used_at, expires_at, token_hash = $2
from   accounts.session
where  account_id = $1
  and  expires_at > now()
order by used_at desc, number desc
limit  $3`

func (s store) sessions(ctx context.Context, account int64, current []byte) ([]summary, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (one summary, err error) {
		err = columns(&one.number, &one.userAgent, &one.created, &one.used, &one.expires, &one.current)
		return one, err
	}, sessionsStatement, account, current, sessionsKept)
}

const endSessionStatement = `
delete from accounts.session
where  account_id = $1
  and  number = $2`

func (s store) endSession(ctx context.Context, account, number int64) error {
	_, err := postgres.Exec(ctx, s.db, endSessionStatement, account, number)
	return err
}

const endAllStatement = `
delete from accounts.session
where  account_id = $1`

func (s store) endAll(ctx context.Context, q postgres.Querier, account int64) error {
	_, err := postgres.Exec(ctx, q, endAllStatement, account)
	return err
}

const endedStatement = `
select number
from   unnest($1::bigint[]) number
where  not exists (select
                   from   accounts.session s
                   where  s.number = number.number
                     and  s.expires_at > now())`

// ended returns which of the sessions are no longer there.
func (s store) ended(ctx context.Context, numbers []int64) ([]int64, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[int64], endedStatement, pq.Array(numbers))
}

// Side by side, one request writes and the others pass over the row.
const useSessionStatement = `
update accounts.session
set    used_at = now()
where  token_hash = (select token_hash
                     from   accounts.session
                     where  token_hash = $1
                       and  used_at < now() - make_interval(secs => $2)
                     for    update skip locked)`

func (s store) useSession(ctx context.Context, hash []byte) error {
	_, err := postgres.Exec(ctx, s.db, useSessionStatement, hash, usedWithin.Seconds())
	return err
}

const closeAccountStatement = `
update accounts.account
set    display_name = '', password = $2, closed_at = now()
where  id = $1
  and  closed_at is null`

// closeAccount leaves of an account its handle alone; false when it was closed
// before.
func (s store) closeAccount(ctx context.Context, tx *postgres.Tx, account int64, password string) (isNew bool, err error) {
	rows, err := postgres.Exec(ctx, tx, closeAccountStatement, account, password)
	if err != nil {
		return false, err
	}
	return rows > 0, s.endAll(ctx, tx, account)
}
