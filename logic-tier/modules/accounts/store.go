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
	err = columns(&a.id, &a.handle, &a.display, &a.created)
	return a, err
}

// skeleton is an expression that is equal for handles that look alike (UTS 39): 0
// and o, 1 and l, rn and m, vv and w. Handles have no other characters that people
// mistake: i has a dot, and capitals are not allowed. The index
// account_by_skeleton is on this expression.
const skeleton = `replace(replace(translate(handle, '01', 'ol'), 'rn', 'm'), 'vv', 'w')`

// Sign-ups for handles that look alike run one after the other, so that of two at
// once one sees the other. Accounts from before this rule may look alike, so the
// index is not unique.
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

// addAccount makes an account with its first session, or neither.
func (s store) addAccount(ctx context.Context, handle, display, password string, hash []byte, expires time.Time, from browser) (a account, err error) {
	err = s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := postgres.Exec(ctx, tx, lockSkeletonStatement, handle); err != nil {
			return err
		}
		other, found, err := postgres.One(ctx, tx, postgres.Value[string], lookAlikeStatement, handle)
		switch {
		case err != nil:
			return err
		case found && other == handle:
			return errTaken
		case found:
			return errLookAlike
		}
		a, _, err = postgres.One(ctx, tx, scanAccount, addAccountStatement, handle, display, password)
		if postgres.Violates(err, "account_handle_key") {
			return errTaken
		}
		if err != nil {
			return err
		}
		return putSession(ctx, tx, hash, a.id, expires, password, from)
	})
	return a, err
}

const accountOfStatement = `
select id, handle, display_name, created_at, password
from   accounts.account
where  handle = $1
  and  closed_at is null`

func (s store) accountOf(ctx context.Context, handle string) (a account, password string, found bool, err error) {
	_, found, err = postgres.One(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&a.id, &a.handle, &a.display, &a.created, &password)
	}, accountOfStatement, handle)
	return a, password, found, err
}

// A session begins only with the password that was checked: one that was changed
// meanwhile, or whose account was closed, opens none. The lock makes changing the
// password wait for the session, and end it.
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

// putSession adds a session in the place of the one that the browser has so far.
func putSession(ctx context.Context, tx *postgres.Tx, hash []byte, accountID int64, expires time.Time, password string, from browser) error {
	rows, err := postgres.Exec(ctx, tx, addSessionStatement, hash, accountID, expires, password, from.userAgent)
	switch {
	case err != nil:
		return err
	case rows == 0:
		return errCredentials
	case from.replaces == "":
		return nil
	}
	_, err = postgres.Exec(ctx, tx, removeSessionStatement, digest(from.replaces))
	return err
}

func (s store) addSession(ctx context.Context, hash []byte, accountID int64, expires time.Time, password string, from browser) error {
	return s.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := putSession(ctx, tx, hash, accountID, expires, password, from); err != nil {
			return err
		}
		_, err := postgres.Exec(ctx, tx, trimSessionsStatement, accountID, sessionsKept)
		return err
	})
}

const sessionOfStatement = `
select a.id, a.handle, a.display_name, a.created_at, s.number, s.used_at < now() - make_interval(secs => $2)
from   accounts.session s
join   accounts.account a on a.id = s.account_id
where  s.token_hash = $1
  and  s.expires_at > now()`

// verified is what a token leads to.
type verified struct {
	account
	number int64 // of the session
	stale  bool  // its time of use is to be written again
}

func (s store) sessionOf(ctx context.Context, hash []byte) (verified, bool, error) {
	return postgres.One(ctx, s.db, func(columns func(...any) error) (v verified, err error) {
		err = columns(&v.id, &v.handle, &v.display, &v.created, &v.number, &v.stale)
		return v, err
	}, sessionOfStatement, hash, usedWithin.Seconds())
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

// countAttempts adds to the counts of some keys, and returns them. Keys are locked
// in their order, here and in adjustAttempts, so that no two calls wait for each
// other.
func (s store) countAttempts(ctx context.Context, window time.Duration, added map[string]int) (map[string]counts, error) {
	keys, changes := arrays(added)
	counted := map[string]counts{}
	_, err := postgres.Collect(ctx, s.db, func(columns func(...any) error) (struct{}, error) {
		var key string
		var c counts
		var seconds float64
		err := columns(&key, &c.count, &seconds)
		c.left = time.Duration(seconds * float64(time.Second))
		counted[key] = c
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

// adjustAttempts adds to the counts of those keys that are counted.
func (s store) adjustAttempts(ctx context.Context, added map[string]int) error {
	keys, changes := arrays(added)
	_, err := postgres.Exec(ctx, s.db, adjustAttemptsStatement, keys, changes)
	return err
}

// arrays returns the keys and what is added to each as two arrays.
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
