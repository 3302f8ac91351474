package operations

import (
	"context"
	"database/sql"

	"techtalks.example/logic-tier/platform/postgres"
)

type store struct{ db *postgres.DB }

const epochStatement = `
select epoch
from   operations.epoch`

func (s store) epoch(ctx context.Context) (string, error) {
	epoch, _, err := postgres.One(ctx, s.db, postgres.Value[string], epochStatement)
	return epoch, err
}

const operationColumns = `o.id, o.number, o.account_id, o.kind, o.title, o.subject, o.state, o.dispatched, o.cancel_requested,
       o.done_count, o.total_count, o.unit, o.attempt, o.attempt_began_at, o.attempt_done, o.revision, o.response, o.error,
       o.created_at, o.started_at, o.updated_at, o.ended_at`

// scanTargets returns the scan destinations of operationColumns. Nullable times are
// scanned into nulls; setTimes then copies them to the fields.
func (o *operation) scanTargets(nulls *[3]sql.NullTime) []any {
	return []any{&o.id, &o.number, &o.account, &o.kind, &o.title, &o.subject, &o.state, &o.dispatched, &o.cancelRequested,
		&o.done, &o.total, &o.unit, &o.attempt, &nulls[0], &o.attemptDone, &o.revision, &o.response, &o.failure,
		&o.created, &nulls[1], &o.updated, &nulls[2]}
}

func (o *operation) setTimes(nulls [3]sql.NullTime) {
	o.attemptBegan, o.started, o.ended = nulls[0].Time, nulls[1].Time, nulls[2].Time
}

func scanOperation(scan func(...any) error) (o operation, err error) {
	var nulls [3]sql.NullTime
	err = scan(o.scanTargets(&nulls)...)
	o.setTimes(nulls)
	return o, err
}

const operationStatement = `
select ` + operationColumns + `
from   operations.operation o
where  o.id = $1`

const stepsStatement = `
select at, text
from   operations.step
where  operation_id = $1
order by number`

// operation returns an operation with its steps.
func (s store) operation(ctx context.Context, id string) (operation, error) {
	o, found, err := postgres.One(ctx, s.db, scanOperation, operationStatement, id)
	if err != nil {
		return o, err
	}
	if !found {
		return o, errNotFound
	}
	o.steps, err = postgres.Collect(ctx, s.db, func(scan func(...any) error) (entry step, err error) {
		err = scan(&entry.at, &entry.text)
		return entry, err
	}, stepsStatement, id)
	return o, err
}

const listStatement = `
select ` + operationColumns + `
from   operations.operation o
where  ($1 < 0 or o.account_id = $1)
  and  o.number < $2
  and  ($3 = '' or o.kind = $3)
  and  ($4 = '' or (o.ended_at is not null) = ($4 = 'true'))
order by o.number desc
limit  $5`

// list returns operations numbered below before, newest first. A negative account
// selects those of all accounts.
func (s store) list(ctx context.Context, account, before int64, f filter, limit int) ([]operation, error) {
	return postgres.Collect(ctx, s.db, scanOperation, listStatement, account, before, f.kind, f.done, limit)
}

const accountStatement = `
select account_id
from   operations.operation
where  id = $1`

func (s store) account(ctx context.Context, q postgres.Querier, id string) (int64, error) {
	account, found, err := postgres.One(ctx, q, postgres.Value[int64], accountStatement, id)
	if err == nil && !found {
		err = errNotFound
	}
	return account, err
}

const deleteFinishedStatement = `
delete from operations.operation
where  id = $1
  and  ended_at is not null`

// deleteFinished deletes an operation and reports whether it did. It deletes only
// finished ones.
func (s store) deleteFinished(ctx context.Context, id string) (bool, error) {
	deleted, err := postgres.Exec(ctx, s.db, deleteFinishedStatement, id)
	return deleted > 0, err
}

const deleteByAccountStatement = `
delete from operations.operation
where  id in (select id
              from   operations.operation
              where  account_id = $1
              limit  $2)
returning id`

// deleteByAccount deletes up to limit operations of an account, finished or not,
// and returns their ids.
func (s store) deleteByAccount(ctx context.Context, tx *postgres.Tx, account int64, limit int) ([]string, error) {
	return postgres.Collect(ctx, tx, postgres.Value[string], deleteByAccountStatement, account, limit)
}

const deleteExpiredStatement = `
delete from operations.operation
where  id in (select id
              from   operations.operation
              where  ended_at <= now() - make_interval(secs => $1)
              limit  $2
              for    update skip locked)`

// deleteExpired deletes up to limit operations that finished at least the given
// number of seconds ago, and returns how many it deleted.
func (s store) deleteExpired(ctx context.Context, seconds float64, limit int64) (int64, error) {
	return postgres.Exec(ctx, s.db, deleteExpiredStatement, seconds, limit)
}
