package accounts

import (
	"context"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

const passwordHashStatement = `
select password
from   accounts.account
where  id = $1
  and  closed_at is null`

func (s store) passwordHash(ctx context.Context, account int64) (string, bool, error) {
	return postgres.One(ctx, s.db, postgres.Value[string], passwordHashStatement, account)
}

// A concurrent sign-in with the old password either waits for this row and then fails, or
// has added its session, which is removed with the others: see addSessionStatement.
const changePasswordStatement = `
update accounts.account
set    password = $3
where  id = $1
  and  password = $2
  and  closed_at is null`

const removeOtherSessionsStatement = `
delete from accounts.session
where  account_id = $1
  and  token_hash <> $2`

// changePassword replaces a password hash and removes all sessions except one. It reports
// false and changes nothing if the hash is no longer oldHash.
func (s store) changePassword(ctx context.Context, account int64, oldHash, newHash string, except []byte) (changed bool, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		rows, err := postgres.Exec(ctx, tx, changePasswordStatement, account, oldHash, newHash)
		changed = rows > 0
		if err != nil || !changed {
			return err
		}
		_, err = postgres.Exec(ctx, tx, removeOtherSessionsStatement, account, except)
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

func (s store) sessions(ctx context.Context, account int64, current []byte) ([]sessionSummary, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (one sessionSummary, err error) {
		err = columns(&one.number, &one.userAgent, &one.created, &one.used, &one.expires, &one.current)
		return one, err
	}, sessionsStatement, account, current, maxSessions)
}

const revokeSessionStatement = `
delete from accounts.session
where  account_id = $1
  and  number = $2`

func (s store) revokeSession(ctx context.Context, account, number int64) error {
	_, err := postgres.Exec(ctx, s.db, revokeSessionStatement, account, number)
	return err
}

const removeAllSessionsStatement = `
delete from accounts.session
where  account_id = $1`

func (s store) removeAllSessions(ctx context.Context, q postgres.Querier, account int64) error {
	_, err := postgres.Exec(ctx, q, removeAllSessionsStatement, account)
	return err
}

const endedSessionsStatement = `
select number
from   unnest($1::bigint[]) number
where  not exists (select
                   from   accounts.session s
                   where  s.number = number.number
                     and  s.expires_at > now())`

// endedSessions returns the numbers of the sessions that have expired or been removed.
func (s store) endedSessions(ctx context.Context, numbers []int64) ([]int64, error) {
	return postgres.Collect(ctx, s.db, postgres.Value[int64], endedSessionsStatement, pq.Array(numbers))
}

// Of concurrent requests one updates the row, and the others skip it.
const touchSessionStatement = `
update accounts.session
set    used_at = now()
where  token_hash = (select token_hash
                     from   accounts.session
                     where  token_hash = $1
                       and  used_at < now() - make_interval(secs => $2)
                     for    update skip locked)`

// touchSession sets a session's last use time unless it is recent.
func (s store) touchSession(ctx context.Context, hash []byte) error {
	_, err := postgres.Exec(ctx, s.db, touchSessionStatement, hash, useTimePrecision.Seconds())
	return err
}

const closeAccountStatement = `
update accounts.account
set    display_name = '', password = $2, closed_at = now()
where  id = $1
  and  closed_at is null`

// closeAccount deletes everything of an account except its handle. It reports false if the
// account was already closed.
func (s store) closeAccount(ctx context.Context, tx *postgres.Tx, account int64, password string) (closed bool, err error) {
	rows, err := postgres.Exec(ctx, tx, closeAccountStatement, account, password)
	if err != nil {
		return false, err
	}
	return rows > 0, s.removeAllSessions(ctx, tx, account)
}
