package postgrestest

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// buildTimeout bounds the building of the programs: minutes only when
	// nothing of them was ever built here.
	buildTimeout = 5 * time.Minute
	// startTimeout bounds a first start, which creates the data directory.
	startTimeout = 3 * time.Minute
	// stopTimeout bounds a stop; then the process is killed.
	stopTimeout = 30 * time.Second
)

const (
	// installed is the name that the data tier gives its database.
	installed = "techtalks"
	// template is the name of the migrated database that tests' databases are copies of.
	template = "migrated"
)

// tier is a data tier's process.
type tier struct {
	process      *exec.Cmd
	over         chan struct{} // closed when it was stopped
	folder       string
	socket       string
	address      string
	certificates string
}

// start builds the data tier, makes it certificates and runs it on a free port
// until it serves.
func start() (_ *tier, err error) {
	t := &tier{over: make(chan struct{})}
	if t.folder, err = os.MkdirTemp("", "techtalks-test-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.stop())
		}
	}()
	// Postgres does not run as root, and must get to its data.
	if err := os.Chmod(t.folder, 0o755); err != nil {
		return nil, err
	}
	t.certificates = filepath.Join(t.folder, "certificates")
	data := filepath.Join(t.folder, "data")
	root, err := repository()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(t.folder, "data-tier")
	for _, step := range []struct {
		folder    string
		arguments []string
	}{
		{"data-tier", []string{"build", "-buildvcs=false", "-o", program, "."}},
		{"deployments", []string{"run", "./certificates/issue", "--directory", t.certificates}},
	} {
		if err := goCommand(filepath.Join(root, step.folder), step.arguments...); err != nil {
			return nil, err
		}
	}
	if err := t.run(program, data); err != nil {
		return nil, err
	}
	return t, t.keepTemplate(data)
}

// repository returns the folder that the tiers are in.
func repository() (string, error) {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(filepath.Dir(strings.TrimSpace(string(output)))), nil
}

func goCommand(folder string, arguments ...string) error {
	ctx, done := context.WithTimeout(context.Background(), buildTimeout)
	defer done()
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(arguments, " "), folder, err, output)
	}
	return nil
}

// serving is the line by which the data tier says that it serves, and where.
var serving = regexp.MustCompile(`msg=serving .*\baddress="?([^" ]+)`)

func (t *tier) run(program, data string) error {
	t.process = exec.Command(program, "serve", "--data-directory", data, "--listen-address", "127.0.0.1:0", "--certificates", t.certificates)
	log, err := t.process.StderrPipe()
	if err != nil {
		return err
	}
	// When a test program is killed, its data tier goes with it: the kernel
	// signals it when the thread that started it ends, so that thread stays.
	t.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- t.process.Start()
		<-t.over
	}()
	if err := <-started; err != nil {
		return err
	}
	said := &record{}
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			said.add(lines.Text())
			if found := serving.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			}
		}
		close(address)
	}()
	select {
	case where, serves := <-address:
		if !serves {
			return fmt.Errorf("it ended at once:\n%s", said)
		}
		t.address = where
		t.socket, err = socketOf(data)
		return err
	case <-time.After(startTimeout):
		return fmt.Errorf("it does not serve:\n%s", said)
	}
}

// socketOf returns the folder of a running server's socket, which its
// postmaster.pid names in the fifth line.
func socketOf(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return "", errors.New("postmaster.pid is not complete")
	}
	return strings.TrimSpace(lines[4]), nil
}

// keepTemplate renames the migrated database for cloning, and lets roles that can log in to
// the installed database log in to its clones. No test of a module loses power, so
// nothing is synced to disk, which creating a database would mostly consist of.
func (t *tier) keepTemplate(data string) error {
	access := filepath.Join(data, "pg_hba.conf")
	text, err := os.ReadFile(access)
	if err != nil {
		return err
	}
	opened := regexp.MustCompile(`(?m)^hostssl( +)`+installed+` `).ReplaceAll(text, []byte("hostssl${1}all "))
	if bytes.Equal(opened, text) {
		return fmt.Errorf("%s has no line for the database %s", access, installed)
	}
	if err := os.WriteFile(access, opened, 0o600); err != nil {
		return err
	}
	admin, err := sql.Open("postgres", t.source("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, done := context.WithTimeout(context.Background(), setUpTimeout)
	defer done()
	for _, statement := range []string{`alter database ` + installed + ` rename to ` + template,
		`alter system set fsync = off`, `alter system set full_page_writes = off`, `select pg_reload_conf()`} {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// source is the superuser's way in, over the socket.
func (t *tier) source(database string) string {
	_, port, _ := net.SplitHostPort(t.address)
	return fmt.Sprintf("host='%s' port=%s user=postgres dbname=%s sslmode=disable connect_timeout=5", t.socket, port, database)
}

func (t *tier) superuser(tb testing.TB, database string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("postgres", t.source(database))
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

// stop ends the data tier and removes all that it kept.
func (t *tier) stop() error {
	var err error
	if t.process != nil && t.process.Process != nil {
		_ = t.process.Process.Signal(syscall.SIGTERM)
		waited := make(chan error, 1)
		go func() { waited <- t.process.Wait() }()
		select {
		case err = <-waited:
		case <-time.After(stopTimeout):
			_ = t.process.Process.Kill()
			err = errors.New("the data tier does not stop; killed")
		}
		close(t.over)
	}
	return errors.Join(err, os.RemoveAll(t.folder))
}

// record keeps what a process said, for when it fails.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.WriteString(line + "\n")
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
