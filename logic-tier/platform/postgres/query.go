package postgres

import (
	"context"
	"database/sql"
	"time"
)

// Querier runs statements. It is a Tx, or a DB, which runs each statement in its own
// transaction.
type Querier interface {
	// AfterCommit calls f once the statements so far are committed. A DB calls it at once.
	AfterCommit(f func())

	statement(ctx context.Context, text string) (*sql.Stmt, error)
}

// Collect runs a query and returns its rows as converted by scan. The statement must be a
// constant, since it stays prepared.
func Collect[T any](ctx context.Context, q Querier, scan func(columns func(...any) error) (T, error), statement string, args ...any) ([]T, error) {
	defer recordQuery(ctx, time.Now())
	stmt, err := q.statement(ctx, statement)
	if err != nil {
		return nil, translate(err)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var items []T
	for rows.Next() {
		item, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, translate(rows.Err())
}

// One runs a query and returns its first row as converted by scan. It reports false if there
// is none.
func One[T any](ctx context.Context, q Querier, scan func(columns func(...any) error) (T, error), statement string, args ...any) (item T, found bool, err error) {
	items, err := Collect(ctx, q, scan, statement, args...)
	if err != nil || len(items) == 0 {
		return item, false, err
	}
	return items[0], true, nil
}

// Exec runs a statement and returns the number of affected rows.
func Exec(ctx context.Context, q Querier, statement string, args ...any) (int64, error) {
	defer recordQuery(ctx, time.Now())
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

// Value scans a row with one column.
func Value[T any](columns func(...any) error) (v T, err error) {
	err = columns(&v)
	return v, err
}
