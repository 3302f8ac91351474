package accounts

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

func scanAccount(columns func(...any) error) (a account, err error) {
	err = columns(&a.id, &a.handle, &a.displayName, &a.created)
	return a, err
}

// skeleton is an SQL expression that is equal for handles that look alike (UTS 39): 0
// and o, 1 and l, rn and m, vv and w. Handles have no other confusable characters: i has a
// dot, and capitals are not allowed. The index account_by_skeleton is on this expression.
const skeleton = `replace(replace(translate(handle, '01', 'ol'), 'rn', 'm'), 'vv', 'w')`

// Sign-ups for handles that look alike are serialised by this lock, so that the second
// one sees the first. A unique index cannot do this: handles of older accounts can look
// alike.
const lockSkeletonStatement = `
select pg_advisory_xact_lock(hashtextextended('accounts.skeleton ' || ` + skeleton + `, 0))
from   (values ($1::text)) new (handle)`

const lookAlikeStatement = `
select account.handle
from   accounts.account
where  ` + skeleton + ` = (select ` + skeleton + ` from (values ($1::text)) new (handle))
order by account.handle <> $1
limit  1`

const addAccountStatement = `
insert into accounts.account (handle, display_name, password)
values ($1, $2, $3)
returning id, handle, display_name, created_at`

// addAccount adds an account and its first session in one transaction. It fails with
// errHandleTaken or errHandleLookAlike.
func (s store) addAccount(ctx context.Context, handle, displayName, password string, hash []byte, expires time.Time, b browser) (a account, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, lockSkeletonStatement, handle); err != nil {
			return err
		}
		other, found, err := postgres.One(ctx, tx, postgres.Value[string], lookAlikeStatement, handle)
		switch {
		case err != nil:
			return err
		case found && other == handle:
			return errHandleTaken
		case found:
			return errHandleLookAlike
		}
		a, _, err = postgres.One(ctx, tx, scanAccount, addAccountStatement, handle, displayName, password)
		if postgres.Violates(err, "account_handle_key") {
			return errHandleTaken
		}
		if err != nil {
			return err
		}
		return insertSession(ctx, tx, hash, a.id, expires, password, b)
	})
	return a, err
}

const accountByHandleStatement = `
select id, handle, display_name, created_at, password
from   accounts.account
where  handle = $1
  and  closed_at is null`

// accountByHandle returns an account that is not closed, and its password hash.
func (s store) accountByHandle(ctx context.Context, handle string) (a account, password string, found bool, err error) {
	_, found, err = postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&a.id, &a.handle, &a.displayName, &a.created, &password)
	}, accountByHandleStatement, handle)
	return a, password, found, err
}

// A session is added only if the account still has the password hash that was checked,
// and is not closed. The row lock makes a concurrent change of the password wait for the
// session, and then end it.
const addSessionStatement = `
insert into accounts.session (token_hash, account_id, expires_at, user_agent)
select $1, id, $3, $5
from   accounts.account
where  id = $2
  and  password = $4
  and  closed_at is null
for    share`

const trimSessionsStatement = `
delete from accounts.session
where  account_id = $1
  and  created_at <= (select created_at
                      from   accounts.session
                      where  account_id = $1
                      order by created_at desc
                      offset $2
                      limit  1)`

// insertSession adds a session and removes the browser's current one. It fails with
// errCredentials if the account is closed or its password hash has changed.
func insertSession(ctx context.Context, tx *postgres.Tx, hash []byte, accountID int64, expires time.Time, password string, b browser) error {
	rows, err := postgres.Exec(ctx, tx, addSessionStatement, hash, accountID, expires, password, b.userAgent)
	switch {
	case err != nil:
		return err
	case rows == 0:
		return errCredentials
	case b.replacedToken == "":
		return nil
	}
	_, err = postgres.Exec(ctx, tx, removeSessionStatement, digest(b.replacedToken))
	return err
}

// addSession adds a session and removes the account's oldest ones beyond maxSessions.
func (s store) addSession(ctx context.Context, hash []byte, accountID int64, expires time.Time, password string, b browser) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := insertSession(ctx, tx, hash, accountID, expires, password, b); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, trimSessionsStatement, accountID, maxSessions)
		return err
	})
}

const sessionByTokenStatement = `
select a.id, a.handle, a.display_name, a.created_at, s.number, s.used_at < now() - make_interval(secs => $2)
from   accounts.session s
join   accounts.account a on a.id = s.account_id
where  s.token_hash = $1
  and  s.expires_at > now()`

// verifiedSession is a session that has not expired.
type verifiedSession struct {
	account
	number int64
	stale  bool // the last use time is older than useTimePrecision
}

func (s store) sessionByToken(ctx context.Context, hash []byte) (verifiedSession, bool, error) {
	return postgres.One(ctx, s.db, func(columns func(...any) error) (v verifiedSession, err error) {
		err = columns(&v.id, &v.handle, &v.displayName, &v.created, &v.number, &v.stale)
		return v, err
	}, sessionByTokenStatement, hash, useTimePrecision.Seconds())
}

const removeSessionStatement = `
delete from accounts.session
where  token_hash = $1`

func (s store) removeSession(ctx context.Context, hash []byte) error {
	_, err := postgres.Exec(ctx, s.db, removeSessionStatement, hash)
	return err
}

const countAttemptsStatement = `
insert into accounts.attempt as a (key, count)
select key, added
from   unnest($1::text[], $2::integer[]) as t (key, added)
order by key collate "C"
on conflict (key) do update
set    count    = case when a.began_at + make_interval(secs => $3) > now() then a.count else 0 end + excluded.count,
       began_at = case when a.began_at + make_interval(secs => $3) > now() then a.began_at else now() end
returning key, count, extract(epoch from began_at + make_interval(secs => $3) - now())::double precision`

// countAttempts adds to the counts of keys and returns the new counts. It starts a new
// window for keys whose window has ended. countAttempts and adjustAttempts lock keys in
// ascending order, so that concurrent calls cannot deadlock.
func (s store) countAttempts(ctx context.Context, window time.Duration, added map[string]int) (map[string]attempts, error) {
	keys, changes := arrays(added)
	counted := map[string]attempts{}
	_, err := postgres.Collect(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		var key string
		var a attempts
		var seconds float64
		err := columns(&key, &a.count, &seconds)
		a.resetIn = time.Duration(seconds * float64(time.Second))
		counted[key] = a
		return struct{}{}, err
	}, countAttemptsStatement, keys, changes, window.Seconds())
	return counted, err
}

const adjustAttemptsStatement = `
with locked as (select key
                from   accounts.attempt
                where  key = any($1::text[])
                order by key collate "C"
                for    update)
update accounts.attempt a
set    count = greatest(a.count + t.added, 0)
from   locked
join   unnest($1::text[], $2::integer[]) as t (key, added) using (key)
where  a.key = locked.key`

// adjustAttempts adds to the counts of keys that exist and ignores the others.
func (s store) adjustAttempts(ctx context.Context, added map[string]int) error {
	keys, changes := arrays(added)
	_, err := postgres.Exec(ctx, s.db, adjustAttemptsStatement, keys, changes)
	return err
}

// arrays returns the keys and values of a map as two Postgres arrays.
func arrays(added map[string]int) (keys, changes any) {
	names := slices.Collect(maps.Keys(added))
	counts := make([]int64, len(names))
	for i, name := range names {
		counts[i] = int64(added[name])
	}
	return pq.Array(names), pq.Array(counts)
}

const removeSessionsStatement = `
delete from accounts.session
where  token_hash in (select token_hash
                      from   accounts.session
                      where  expires_at <= now()
                      limit  $1
                      for    update skip locked)`

// removeSessions deletes up to limit expired sessions and returns their number.
func (s store) removeSessions(ctx context.Context, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeSessionsStatement, limit)
}

const removeAttemptsStatement = `
delete from accounts.attempt
where  key in (select key
               from   accounts.attempt
               where  began_at <= now() - make_interval(secs => $1)
               limit  $2
               for    update skip locked)`

// removeAttempts deletes up to limit attempts that began at least window ago and
// returns their number.
func (s store) removeAttempts(ctx context.Context, window time.Duration, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, removeAttemptsStatement, window.Seconds(), limit)
}
