package operations

import (
	"context"
	"database/sql"

	"techtalks.example/logic-tier/platform/postgres"
)

const lockAccountStatement = `
select pg_advisory_xact_lock(hashtextextended('operations.account', $1))`

func (s store) lockAccount(ctx context.Context, tx *postgres.Tx, account int64) error {
	_, err := postgres.Exec(ctx, tx, lockAccountStatement, account)
	return err
}

const requestedStatement = `
select ` + operationColumns + `, o.input
from   operations.operation o
where  o.account_id = $1
  and  o.request_id = $2`

func (s store) requested(ctx context.Context, tx *postgres.Tx, account int64, requestID string) (o operation, input []byte, found bool, err error) {
	o, found, err = postgres.One(ctx, tx, func(columns func(...any) error) (o operation, err error) {
		var nulls [3]sql.NullTime
		err = columns(append(o.columns(&nulls), &input)...)
		o.filled(nulls)
		return o, err
	}, requestedStatement, account, requestID)
	return o, input, found, err
}

const turnStatement = `
select count(*) filter (where dispatched and kind = $2) > 0,
       count(*) filter (where not dispatched)
from   operations.operation
where  account_id = $1
  and  ended_at is null`

// turn reports whether an operation of a kind has the account's turn, and returns
// how many of any kind wait for one.
func (s store) turn(ctx context.Context, tx *postgres.Tx, account int64, kind string) (taken bool, waiting int, err error) {
	_, _, err = postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&taken, &waiting)
	}, turnStatement, account, kind)
	return taken, waiting, err
}

const addStatement = `
insert into operations.operation as o (id, account_id, request_id, kind, title, subject, dispatched, input)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning ` + operationColumns

func (s store) add(ctx context.Context, tx *postgres.Tx, r request, dispatched bool) (operation, error) {
	o, _, err := postgres.One(ctx, tx, scanOperation, addStatement, r.operation, r.account, r.id, r.kind, r.title, r.subject, dispatched, r.input)
	return o, err
}

const claimStatement = `
update operations.operation o
set    state            = 'running',
       dispatched       = true,
       attempt          = o.attempt + 1,
       tries            = o.tries + 1,
       attempt_began_at = now(),
       attempt_done     = o.done_count,
       started_at       = coalesce(o.started_at, now()),
       revision         = o.revision + 1,
       updated_at       = now()
where  o.id = $1
  and  o.ended_at is null
returning ` + operationColumns + `, o.input, o.checkpoint, o.tries`

// claim gives an operation another worker; false when it has ended.
func (s store) claim(ctx context.Context, tx *postgres.Tx, id string) (c claimed, is bool, err error) {
	if _, err := s.account(ctx, tx, id); err != nil {
		return c, false, err
	}
	return postgres.One(ctx, tx, func(columns func(...any) error) (c claimed, err error) {
		var nulls [3]sql.NullTime
		err = columns(append(c.columns(&nulls), &c.input, &c.checkpoint, &c.tries)...)
		c.filled(nulls)
		return c, err
	}, claimStatement, id)
}

const reportStatement = `
update operations.operation o
set    done_count  = greatest(o.done_count, $3),
       total_count = greatest(o.total_count, $4),
       unit        = coalesce(nullif($5, ''), o.unit),
       checkpoint  = case when octet_length($6::bytea) > 0 then $6 else o.checkpoint end,
       tries       = case when $7 then greatest(0, o.tries - 1) else o.tries end,
       revision    = o.revision + 1,
       updated_at  = now()
where  o.id = $1
  and  o.attempt = $2
  and  o.ended_at is null
returning ` + operationColumns

// report keeps how far the work is; false when the attempt is over.
func (s store) report(ctx context.Context, tx *postgres.Tx, id string, r reported) (operation, bool, error) {
	if _, err := s.account(ctx, tx, id); err != nil {
		return operation{}, false, err
	}
	return postgres.One(ctx, tx, scanOperation, reportStatement, id, r.attempt, r.done, r.total, r.unit, orEmpty(r.checkpoint), r.excused)
}

// orEmpty makes nil an empty value: lib/pq takes nil for null.
func orEmpty(bytes []byte) []byte {
	if bytes == nil {
		return []byte{}
	}
	return bytes
}

const endStatement = `
update operations.operation o
set    state       = $3,
       response    = $4,
       error       = $5,
       done_count  = case when $3 = 'succeeded' then greatest(o.done_count, o.total_count) else o.done_count end,
       checkpoint  = '',
       ended_at    = now(),
       started_at  = coalesce(o.started_at, now()),
       revision    = o.revision + 1,
       updated_at  = now()
where  o.id = $1
  and  ($2 = 0 or o.attempt = $2)
  and  o.ended_at is null
returning ` + operationColumns

// end ends an operation, and says whether it did: it may have ended, or be
// another worker's.
func (s store) end(ctx context.Context, tx *postgres.Tx, id string, attempt int64, as outcome) (operation, bool, error) {
	o, changed, err := postgres.One(ctx, tx, scanOperation, endStatement, id, attempt, string(as.state), as.response, as.failure)
	if err != nil || changed {
		return o, changed, err
	}
	o, found, err := postgres.One(ctx, tx, scanOperation, operationStatement, id)
	if err == nil && !found {
		err = errNoOperation
	}
	return o, false, err
}

// A kind whose turn is free may have several operations waiting: those that an
// earlier version of the program let wait for a turn of any kind.
const dispatchStatement = `
update operations.operation o
set    dispatched = true
where  o.id in (select distinct on (w.kind) w.id
                from   operations.operation w
                where  w.account_id = $1
                  and  w.ended_at is null
                  and  not w.dispatched
                  and  not exists (select
                                   from   operations.operation r
                                   where  r.account_id = $1
                                     and  r.kind = w.kind
                                     and  r.ended_at is null
                                     and  r.dispatched)
                order by w.kind, w.number)
returning ` + operationColumns

// dispatch gives each free turn of an account to the operation that waits for it
// longest.
func (s store) dispatch(ctx context.Context, tx *postgres.Tx, account int64) ([]operation, error) {
	return postgres.Collect(ctx, tx, scanOperation, dispatchStatement, account)
}

const requestCancelStatement = `
update operations.operation o
set    cancel_requested = true,
       revision         = o.revision + 1,
       updated_at       = now()
where  o.id = $1
  and  o.ended_at is null
  and  not o.cancel_requested
returning ` + operationColumns

func (s store) requestCancel(ctx context.Context, tx *postgres.Tx, id string) (operation, bool, error) {
	return postgres.One(ctx, tx, scanOperation, requestCancelStatement, id)
}

const addStepStatement = `
with counted as (
    update operations.operation
    set    steps = steps + 1
    where  id = $1
    returning steps
), trimmed as (
    delete from operations.step
    where  operation_id = $1
      and  number <= (select steps from counted) - $3
)
insert into operations.step (operation_id, number, text)
select $1, steps, $2
from   counted`

func (s store) addStep(ctx context.Context, tx *postgres.Tx, id, text string) error {
	_, err := postgres.Exec(ctx, tx, addStepStatement, id, text, keptSteps)
	return err
}

// changedChannel is the channel of NOTIFY that changes travel on.
const changedChannel = "operations_changed"

const announceStatement = `
select pg_notify('` + changedChannel + `', $1)`

// announce tells every replica of a change, when it is committed.
func (s store) announce(ctx context.Context, tx *postgres.Tx, id string) error {
	_, err := postgres.Exec(ctx, tx, announceStatement, id)
	return err
}
