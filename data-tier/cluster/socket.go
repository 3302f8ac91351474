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
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
)

// longestSocket is the length of the longest directory that the socket's path
// fits into: sun_path has 108 bytes (unix(7)), ".s.PGSQL.65535" and its NUL
// take 16.
const longestSocket = 92

// socketDirectory returns where the socket of a data directory is: in it, or,
// when its path is too long, in a folder for temporary files.
func socketDirectory(directory string) (string, error) {
	if in := filepath.Join(directory, "socket"); len(in) <= longestSocket {
		return in, nil
	}
	sum := sha256.Sum256([]byte(directory))
	short := filepath.Join(os.TempDir(), "techtalks-"+hex.EncodeToString(sum[:6]))
	if len(short) > longestSocket {
		return "", fmt.Errorf("no folder for a socket: both %s and %s are too long; use a shorter --data-directory (DATA_DIRECTORY)", directory, short)
	}
	return short, nil
}

// postmaster reads what a running server says of itself (postmaster.pid:
// process, directory, start, port, socket, …).
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

// runningServer returns the process that runs on a data directory, or 0.
func runningServer(directory string) int {
	lines, err := postmaster(directory)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 || syscall.Kill(pid, 0) == syscall.ESRCH {
		return 0
	}
	// The number may be another process's by now.
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(name)) != "postgres" {
		return 0
	}
	return pid
}

// Socket returns the data source of the superuser, over the local socket of the
// server that runs on a data directory. It names no database.
func Socket(directory string) (string, error) {
	lines, err := postmaster(directory)
	if err != nil {
		return "", fmt.Errorf("no server runs on %s: start it with data-tier serve: %w", directory, err)
	}
	return fmt.Sprintf("host='%s' port=%s user=postgres sslmode=disable connect_timeout=5 application_name=data-tier",
		strings.TrimSpace(lines[4]), strings.TrimSpace(lines[3])), nil
}

// Ping asks the server of a data directory whether it answers.
func Ping(ctx context.Context, directory string) error { return ping(ctx, directory, "techtalks") }

func ping(ctx context.Context, directory, database string) error {
	source, err := Socket(directory)
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", source+" dbname="+database)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	return db.PingContext(ctx)
}
