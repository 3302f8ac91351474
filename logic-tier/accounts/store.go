package accounts

import (
	"context"
	"time"

	"techtalks.example/logic-tier/postgres"
)

type store struct{ db *postgres.DB }

func scanAccount(columns func(...any) error) (a account, err error) {
	err = columns(&a.id, &a.handle, &a.display, &a.created)
	return a, err
}

const addAccountStatement = `
insert into accounts.account (handle, display_name, password)
values ($1, $2, $3)
returning id, handle, display_name, created_at`

// addAccount makes an account with its first session, or neither.
func (s store) addAccount(ctx context.Context, handle, display, password string, hash []byte, expires time.Time) (a account, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		a, _, err = postgres.One(ctx, tx, scanAccount, addAccountStatement, handle, display, password)
		if postgres.Violates(err, "account_handle_key") {
			return errTaken
		}
		if err != nil {
			return err
		}
		_, err = postgres.Exec(ctx, tx, addSessionStatement, hash, a.id, expires)
		return err
	})
	return a, err
}

const accountOfStatement = `
select id, handle, display_name, created_at, password
from   accounts.account
where  handle = $1`

func (s store) accountOf(ctx context.Context, handle string) (a account, password string, found bool, err error) {
	_, found, err = postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&a.id, &a.handle, &a.display, &a.created, &password)
	}, accountOfStatement, handle)
	return a, password, found, err
}

const addSessionStatement = `
insert into accounts.session (token_hash, account_id, expires_at)
values ($1, $2, $3)`

const trimSessionsStatement = `
delete from accounts.session
where  account_id = $1
  and  created_at <= (select created_at
                      from   accounts.session
                      where  account_id = $1
                      order by created_at desc
                      offset $2
                      limit  1)`

func (s store) addSession(ctx context.Context, hash []byte, accountID int64, expires time.Time) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, addSessionStatement, hash, accountID, expires); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, trimSessionsStatement, accountID, sessionsKept)
		return err
	})
}

const sessionOfStatement = `
select a.id, a.handle, a.display_name, a.created_at
from   accounts.session s
join   accounts.account a on a.id = s.account_id
where  s.token_hash = $1
  and  s.expires_at > now()`

func (s store) sessionOf(ctx context.Context, hash []byte) (account, bool, error) {
	return postgres.One(ctx, s.db, scanAccount, sessionOfStatement, hash)
}

const removeSessionStatement = `
delete from accounts.session
where  token_hash = $1`

func (s store) removeSession(ctx context.Context, hash []byte) error {
	_, err := postgres.Exec(ctx, s.db, removeSessionStatement, hash)
	return err
}

const countAttemptStatement = `
insert into accounts.attempt as a (key, count)
values ($1, 1)
on conflict (key) do update
set    count    = case when a.began_at + make_interval(secs => $2) > now() then a.count + 1 else 1 end,
       began_at = case when a.began_at + make_interval(secs => $2) > now() then a.began_at else now() end
returning count, extract(epoch from began_at + make_interval(secs => $2) - now())::double precision`

// countAttempt counts an attempt and returns how many there were in its window,
// and how long that still lasts.
func (s store) countAttempt(ctx context.Context, key string, window time.Duration) (count int, left time.Duration, err error) {
	var seconds float64
	_, _, err = postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&count, &seconds)
	}, countAttemptStatement, key, window.Seconds())
	return count, time.Duration(seconds * float64(time.Second)), err
}

const takeBackAttemptStatement = `
update accounts.attempt
set    count = count - 1
where  key = $1
  and  count > 0`

func (s store) takeBackAttempt(ctx context.Context, key string) error {
	_, err := postgres.Exec(ctx, s.db, takeBackAttemptStatement, key)
	return err
}

const removeSessionsStatement = `
delete from accounts.session
where  token_hash in (select token_hash
                      from   accounts.session
                      where  expires_at <= now()
                      limit  $1
                      for    update skip locked)`

// removeSessions removes at most so many expired sessions, and says how many.
func (s store) removeSessions(ctx context.Context, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeSessionsStatement, most)
}

const removeAttemptsStatement = `
delete from accounts.attempt
where  key in (select key
               from   accounts.attempt
               where  began_at <= now() - make_interval(secs => $1)
               limit  $2
               for    update skip locked)`

// removeAttempts removes at most so many attempts of windows that are over, and
// says how many.
func (s store) removeAttempts(ctx context.Context, window time.Duration, most int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeAttemptsStatement, window.Seconds(), most)
}
