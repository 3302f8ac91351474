package cluster

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
)

// maxSocketDirectory is the maximum length of the socket's directory: sun_path has
// 108 bytes (unix(7)), of which "/.s.PGSQL.65535" and its NUL take 16.
const maxSocketDirectory = 92

// socketDirectory returns the folder of a server's socket: beside the data
// directory, because pg_rewind treats every file inside it as data, or, if that
// path is too long, in the folder for temporary files.
func socketDirectory(directory string) (string, error) {
	if beside := directory + ".socket"; len(beside) <= maxSocketDirectory {
		return beside, nil
	}
	sum := sha256.Sum256([]byte(directory))
	short := filepath.Join(os.TempDir(), "techtalks-"+hex.EncodeToString(sum[:6]))
	if len(short) > maxSocketDirectory {
		return "", fmt.Errorf("no folder for the socket: both %s.socket and %s are too long; use a shorter --data-directory (DATA_DIRECTORY)", directory, short)
	}
	return short, nil
}

// postmaster returns the lines of a running server's postmaster.pid: process id,
// directory, start time, port, socket directory, …
func postmaster(directory string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(directory, "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return nil, errors.New("postmaster.pid is not complete")
	}
	return lines, nil
}

// Socket returns the superuser's connection string for the local socket of the
// server that runs on a data directory. It names no database.
func Socket(directory string) (string, error) {
	lines, err := postmaster(directory)
	if err != nil {
		return "", fmt.Errorf("no server runs on %s: start it with data-tier serve: %w", directory, err)
	}
	return fmt.Sprintf("host='%s' port=%s user=postgres sslmode=disable connect_timeout=5 application_name=data-tier",
		strings.TrimSpace(lines[4]), strings.TrimSpace(lines[3])), nil
}

// Ready returns nil if the server of a data directory answers and admits the logic
// tier, which it does once its database is set up.
func Ready(ctx context.Context, directory string) error {
	ctx, done := context.WithTimeout(ctx, pingTimeout)
	defer done()
	return onSocket(directory, "techtalks", func(db *sql.DB) error {
		var open bool
		if err := db.QueryRowContext(ctx, `select exists (select from pg_hba_file_rules where 'accounts' = any(user_name))`).Scan(&open); err != nil {
			return err
		}
		if !open {
			return errors.New("not ready: the database is being set up and does not admit the logic tier yet")
		}
		return nil
	})
}

const pingTimeout = 3 * time.Second

// ping returns nil if the server of a data directory answers.
func ping(ctx context.Context, directory, database string) error {
	ctx, done := context.WithTimeout(ctx, pingTimeout)
	defer done()
	return onSocket(directory, database, func(db *sql.DB) error { return db.PingContext(ctx) })
}

// onSocket calls do with a superuser's connection to the server of a data
// directory.
func onSocket(directory, database string, do func(*sql.DB) error) error {
	source, err := Socket(directory)
	if err != nil {
		return err
	}
	// The callers' contexts have deadlines.
	db, err := sql.Open("postgres", source+" statement_timeout=0 dbname="+database)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}
