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

const operationByRequestStatement = `
select ` + operationColumns + `, o.input
from   operations.operation o
where  o.account_id = $1
  and  o.request_id = $2`

// operationByRequest returns the operation that an account's request created, with
// its input.
func (s store) operationByRequest(ctx context.Context, tx *postgres.Tx, account int64, requestID string) (o operation, input []byte, found bool, err error) {
	o, found, err = postgres.One(ctx, tx, func(scan func(...any) error) (o operation, err error) {
		var nulls [3]sql.NullTime
		err = scan(append(o.scanTargets(&nulls), &input)...)
		o.setTimes(nulls)
		return o, err
	}, operationByRequestStatement, account, requestID)
	return o, input, found, err
}

const countPendingStatement = `
select count(*) filter (where dispatched and kind = $2) > 0,
       count(*) filter (where not dispatched)
from   operations.operation
where  account_id = $1
  and  ended_at is null`

// countPending reports whether an unfinished operation of the kind is dispatched
// for the account, and returns how many operations of any kind are not.
func (s store) countPending(ctx context.Context, tx *postgres.Tx, account int64, kind string) (dispatched bool, waiting int, err error) {
	_, _, err = postgres.One(ctx, tx, func(scan func(...any) error) (struct{}, error) {
		return struct{}{}, scan(&dispatched, &waiting)
	}, countPendingStatement, account, kind)
	return dispatched, waiting, err
}

const insertStatement = `
insert into operations.operation as o (id, account_id, request_id, kind, title, subject, dispatched, input)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning ` + operationColumns

func (s store) insert(ctx context.Context, tx *postgres.Tx, r request, dispatched bool) (operation, error) {
	o, _, err := postgres.One(ctx, tx, scanOperation, insertStatement, r.operationID, r.account, r.requestID, r.kind, r.title, r.subject, dispatched, r.input)
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

// claim starts the operation's next attempt. It reports false if the operation has
// finished.
func (s store) claim(ctx context.Context, tx *postgres.Tx, id string) (c claimedOperation, ok bool, err error) {
	if _, err := s.account(ctx, tx, id); err != nil {
		return c, false, err
	}
	return postgres.One(ctx, tx, func(scan func(...any) error) (c claimedOperation, err error) {
		var nulls [3]sql.NullTime
		err = scan(append(c.scanTargets(&nulls), &c.input, &c.checkpoint, &c.tries)...)
		c.setTimes(nulls)
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

// report stores progress. It reports false if the attempt is no longer current or
// the operation has finished.
func (s store) report(ctx context.Context, tx *postgres.Tx, id string, p progress) (operation, bool, error) {
	if _, err := s.account(ctx, tx, id); err != nil {
		return operation{}, false, err
	}
	return postgres.One(ctx, tx, scanOperation, reportStatement, id, p.attempt, p.done, p.total, p.unit, orEmpty(p.checkpoint), p.excused)
}

// orEmpty replaces nil with an empty slice, because lib/pq sends nil as null.
func orEmpty(bytes []byte) []byte {
	if bytes == nil {
		return []byte{}
	}
	return bytes
}

const finishStatement = `
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

// finish stores the outcome and returns the operation. It reports false, with the
// unchanged operation, if that has already finished or belongs to another attempt.
func (s store) finish(ctx context.Context, tx *postgres.Tx, id string, attempt int64, result outcome) (operation, bool, error) {
	o, changed, err := postgres.One(ctx, tx, scanOperation, finishStatement, id, attempt, string(result.state), result.response, result.failure)
	if err != nil || changed {
		return o, changed, err
	}
	o, found, err := postgres.One(ctx, tx, scanOperation, operationStatement, id)
	if err == nil && !found {
		err = errNotFound
	}
	return o, false, err
}

// Several operations of an idle kind can be waiting: an earlier version dispatched
// one operation per account, whatever its kind.
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

// dispatch dispatches the account's oldest waiting operation of each kind that has
// none dispatched.
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
	_, err := postgres.Exec(ctx, tx, addStepStatement, id, text, maxSteps)
	return err
}

// changedChannel is the NOTIFY channel for changed operations.
const changedChannel = "operations_changed"

const notifyStatement = `
select pg_notify('` + changedChannel + `', $1)`

// notify notifies every replica of a change when tx commits.
func (s store) notify(ctx context.Context, tx *postgres.Tx, id string) error {
	_, err := postgres.Exec(ctx, tx, notifyStatement, id)
	return err
}
