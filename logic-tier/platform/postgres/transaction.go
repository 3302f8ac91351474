package postgres

import (
	"context"
	"database/sql"
	"time"
)

// Tx is a transaction under way.
type Tx struct {
	db          *DB
	tx          *sql.Tx
	afterCommit []func()
	unprepared  []string
}

// statement returns text prepared on the transaction's connection.
func (tx *Tx) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt := tx.db.known(text); stmt != nil {
		return tx.tx.StmtContext(ctx, stmt), nil
	}
	// Preparing it for good takes a second connection; when every connection is
	// in a transaction, all would wait for each other. So: for this transaction
	// now, for good when it is over.
	tx.unprepared = append(tx.unprepared, text)
	return tx.tx.PrepareContext(ctx, text)
}

func (db *DB) known(text string) *sql.Stmt {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.prepared[text]
}

// AfterCommit calls f once the transaction is committed, and not when it is
// rolled back.
func (tx *Tx) AfterCommit(f func()) { tx.afterCommit = append(tx.afterCommit, f) }

// AfterCommit calls f: every statement that returned without an error is
// committed.
func (db *DB) AfterCommit(f func()) { f() }

// InTransaction calls work in a transaction at the default isolation level,
// read committed. It commits when work returns nil, and a failed commit is an
// error; otherwise, and when work panics, it rolls back.
func (db *DB) InTransaction(ctx context.Context, work func(*Tx) error) error {
	began := time.Now()
	inner, err := db.pool.BeginTx(ctx, nil)
	spend(ctx, began)
	if err != nil {
		return translate(err)
	}
	defer inner.Rollback() // after a commit: does nothing
	tx := &Tx{db: db, tx: inner}
	if err := work(tx); err != nil {
		return err
	}
	began = time.Now()
	err = inner.Commit()
	spend(ctx, began)
	if err != nil {
		return translate(err)
	}
	for _, f := range tx.afterCommit {
		f()
	}
	for _, text := range tx.unprepared {
		// The work is done: if this fails, the next transaction prepares it.
		_, _ = db.statement(ctx, text)
	}
	return nil
}
