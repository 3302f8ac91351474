package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// makeSchema makes a schema for a peer, of the role that our messages are published
// as: it comes in over the same TLS, under the same settings.
func (s *site) makeSchema(ctx context.Context, db *sql.DB, schema string) error {
	for _, statement := range []string{`drop schema if exists %s cascade`, `create schema %s authorization talks`} {
		if _, err := db.ExecContext(ctx, fmt.Sprintf(statement, pq.QuoteIdentifier(schema))); err != nil {
			return err
		}
	}
	return nil
}

// peer makes a schema for a peer on lib/pq and returns its pool, with as many
// connections as ours has in two.
func (s *site) peer(ctx context.Context, db *sql.DB, schema string) (*sql.DB, error) {
	if err := s.makeSchema(ctx, db, schema); err != nil {
		return nil, err
	}
	pool, err := s.pool("talks", " search_path="+schema)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(publishConnections + consumeConnections)
	pool.SetMaxIdleConns(publishConnections + consumeConnections)
	return pool, nil
}

// pool connects as a role, with settings for its sessions.
func (s *site) pool(role, settings string) (*sql.DB, error) {
	source, err := s.database(role, 0).Source()
	if err != nil {
		return nil, err
	}
	return sql.Open("postgres", source+settings)
}

func inTransaction(ctx context.Context, pool *sql.DB, do func(*sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
