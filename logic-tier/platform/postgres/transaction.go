package postgres

import (
	"context"
	"database/sql"
	"time"
)

// Tx is a transaction in progress.
type Tx struct {
	db          *DB
	tx          *sql.Tx
	afterCommit []func()
	unprepared  []string
}

// statement returns text prepared on the transaction's connection.
func (tx *Tx) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt := tx.db.lookup(text); stmt != nil {
		return tx.tx.StmtContext(ctx, stmt), nil
	}
	// Preparing on the pool needs a second connection. With every connection in a
	// transaction, that would deadlock. So text is prepared for this transaction only,
	// and on the pool after the commit.
	tx.unprepared = append(tx.unprepared, text)
	return tx.tx.PrepareContext(ctx, text)
}

func (db *DB) lookup(text string) *sql.Stmt {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.prepared[text]
}

// AfterCommit calls f after the transaction has committed, and never if it rolls back.
func (tx *Tx) AfterCommit(f func()) { tx.afterCommit = append(tx.afterCommit, f) }

// AfterCommit calls f at once, since every successful statement is already committed.
func (db *DB) AfterCommit(f func()) { f() }

// InTransaction calls work in a transaction at the default isolation level, read committed.
// It commits if work returns nil, and returns the error of a failed commit. If work returns
// an error or panics, it rolls back.
func (db *DB) InTransaction(ctx context.Context, work func(*Tx) error) error {
	start := time.Now()
	inner, err := db.pool.BeginTx(ctx, nil)
	recordQuery(ctx, start)
	if err != nil {
		return translate(err)
	}
	defer inner.Rollback() // no-op after a commit
	tx := &Tx{db: db, tx: inner}
	if err := work(tx); err != nil {
		return err
	}
	start = time.Now()
	err = inner.Commit()
	recordQuery(ctx, start)
	if err != nil {
		return translate(err)
	}
	for _, f := range tx.afterCommit {
		f()
	}
	for _, text := range tx.unprepared {
		// An error does not matter: the next transaction prepares text again.
		_, _ = db.statement(ctx, text)
	}
	return nil
}
