package postgres

import (
	"context"
	"database/sql"
	"time"
)

// Querier runs statements: a DB, each in a transaction of its own, or a Tx.
type Querier interface {
	// AfterCommit calls f once what was done so far is committed: at once, for a
	// DB.
	AfterCommit(f func())

	statement(ctx context.Context, text string) (*sql.Stmt, error)
}

// Collect runs a query and returns its rows, each made by scan. The statement
// must be a constant: it is prepared once and kept.
func Collect[T any](ctx context.Context, q Querier, scan func(columns func(...any) error) (T, error), statement string, args ...any) ([]T, error) {
	defer spend(ctx, time.Now())
	stmt, err := q.statement(ctx, statement)
	if err != nil {
		return nil, translate(err)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, translate(rows.Err())
}

// One runs a query and returns its first row made by scan; false when it has
// none.
func One[T any](ctx context.Context, q Querier, scan func(columns func(...any) error) (T, error), statement string, args ...any) (one T, found bool, err error) {
	all, err := Collect(ctx, q, scan, statement, args...)
	if err != nil || len(all) == 0 {
		return one, false, err
	}
	return all[0], true, nil
}

// Exec runs a statement and returns how many rows it changed.
func Exec(ctx context.Context, q Querier, statement string, args ...any) (int64, error) {
	defer spend(ctx, time.Now())
	stmt, err := q.statement(ctx, statement)
	if err != nil {
		return 0, translate(err)
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, translate(err)
	}
	return result.RowsAffected()
}

// Value scans a row of one column.
func Value[T any](columns func(...any) error) (v T, err error) {
	err = columns(&v)
	return v, err
}
