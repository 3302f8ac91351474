// Package migration creates the database and its roles, and migrates each module's
// schema to the version that the logic tier expects.
package migration

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"techtalks.example/data-tier/schema"
)

// timeout bounds all migrations together. A longer migration must be split into
// steps that run while the previous version serves.
const timeout = 10 * time.Minute

// Run creates the database and the roles, and migrates every schema to its newest
// version. source is a superuser's connection string without a database. Run is
// idempotent.
func Run(ctx context.Context, source, roles string, log *slog.Logger) error {
	ctx, done := context.WithTimeout(ctx, timeout)
	defer done()
	if err := createDatabase(ctx, source); err != nil {
		return err
	}
	db, err := sql.Open("postgres", source+" dbname=techtalks statement_timeout=0")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, roles); err != nil {
		return fmt.Errorf("roles.sql: %w (unaccent is part of postgresql-contrib)", err)
	}
	// Migrations run as the role owner, which is not a superuser: they can change
	// only the schemas that it owns.
	owner, err := sql.Open("postgres", source+" dbname=techtalks role=owner statement_timeout=0")
	if err != nil {
		return err
	}
	defer owner.Close()
	for _, module := range schema.Modules {
		provider, err := newProvider(owner, module)
		if err != nil {
			return err
		}
		results, err := provider.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate %s: %w", module, err)
		}
		for _, r := range results {
			log.Info("migrated", "module", module, "version", r.Source.Version, "file", r.Source.Path, "took", r.Duration.Round(time.Millisecond))
		}
		// The logic tier compares this version with the one that it was built for.
		table := pq.QuoteIdentifier(module)
		if _, err := owner.ExecContext(ctx, "grant select on migrations."+table+" to "+table); err != nil {
			return fmt.Errorf("grant %s its schema version: %w", module, err)
		}
	}
	return nil
}

func newProvider(db *sql.DB, module string) (*goose.Provider, error) {
	files, err := fs.Sub(schema.Files, module)
	if err != nil {
		return nil, err
	}
	versions, err := database.NewStore(database.DialectPostgres, "migrations."+module)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider("", db, files, goose.WithStore(versions))
}

func createDatabase(ctx context.Context, source string) error {
	db, err := sql.Open("postgres", source+" dbname=postgres")
	if err != nil {
		return err
	}
	defer db.Close()
	var exists bool
	if err := db.QueryRowContext(ctx, `select exists (select from pg_database where datname = 'techtalks')`).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = db.ExecContext(ctx, `create database techtalks`)
	return err
}
