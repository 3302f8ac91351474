// Package migration makes the database what the tiers above it expect: its
// roles, its schemas, and each module's tables.
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

// timeout bounds all migrations together. One that takes longer must be done in
// steps while the old version serves.
const timeout = 10 * time.Minute

// Run makes the database, the roles and every schema's newest version. source
// is a superuser's, and names no database. Running it again changes nothing.
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
	// As the owner, who is no superuser: a migration cannot reach further than
	// the schemas it owns.
	owner, err := sql.Open("postgres", source+" dbname=techtalks role=owner statement_timeout=0")
	if err != nil {
		return err
	}
	defer owner.Close()
	for _, module := range schema.Modules {
		provider, err := providerOf(owner, module)
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
		// The logic tier compares the version with the one it was written for.
		table := pq.QuoteIdentifier(module)
		if _, err := owner.ExecContext(ctx, "grant select on migrations."+table+" to "+table); err != nil {
			return fmt.Errorf("let %s read its version: %w", module, err)
		}
	}
	return nil
}

func providerOf(db *sql.DB, module string) (*goose.Provider, error) {
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
	var there bool
	if err := db.QueryRowContext(ctx, `select exists (select from pg_database where datname = 'techtalks')`).Scan(&there); err != nil || there {
		return err
	}
	_, err = db.ExecContext(ctx, `create database techtalks`)
	return err
}
