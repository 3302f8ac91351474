package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// createSchema creates a schema for a peer, owned by the role that publishes our messages: the peer
// connects with the same TLS and the same settings.
func (s *site) createSchema(ctx context.Context, db *sql.DB, schema string) error {
	for _, statement := range []string{`drop schema if exists %s cascade`, `create schema %s authorization talks`} {
		if _, err := db.ExecContext(ctx, fmt.Sprintf(statement, pq.QuoteIdentifier(schema))); err != nil {
			return err
		}
	}
	return nil
}

// peer creates a schema for a peer on lib/pq and returns its pool, with as many connections as our
// two pools together.
func (s *site) peer(ctx context.Context, db *sql.DB, schema string) (*sql.DB, error) {
	if err := s.createSchema(ctx, db, schema); err != nil {
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

// pool returns a pool that connects as a role, with session settings.
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
