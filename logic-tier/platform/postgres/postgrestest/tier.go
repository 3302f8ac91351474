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
	// buildTimeout bounds the build of the programs. It takes minutes only with an empty
	// build cache.
	buildTimeout = 5 * time.Minute
	// startTimeout bounds a first start, which creates the data directory.
	startTimeout = 3 * time.Minute
	// stopTimeout bounds a graceful stop, after which the process is killed.
	stopTimeout = 30 * time.Second
)

const (
	// installed is the production name of the database.
	installed = "techtalks"
	// template is the name of the migrated database that tests clone.
	template = "migrated"
)

// tier is a data tier process.
type tier struct {
	process      *exec.Cmd
	stopped      chan struct{} // closed by stop
	folder       string
	socket       string
	address      string
	certificates string
}

// start builds the data tier, issues its certificates, starts it on a free port, and waits
// until it serves.
func start() (_ *tier, err error) {
	t := &tier{stopped: make(chan struct{})}
	if t.folder, err = os.MkdirTemp("", "techtalks-test-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.stop())
		}
	}()
	// Postgres does not run as root, and needs access to its data directory.
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
	return t, t.createTemplate(data)
}

// repository returns the folder that contains the tiers.
func repository() (string, error) {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(filepath.Dir(strings.TrimSpace(string(output)))), nil
}

func goCommand(folder string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(arguments, " "), folder, err, output)
	}
	return nil
}

// serving matches the log line with the data tier's address.
var serving = regexp.MustCompile(`msg=serving .*\baddress="?([^" ]+)`)

func (t *tier) run(program, data string) error {
	t.process = exec.Command(program, "serve", "--data-directory", data, "--listen-address", "127.0.0.1:0", "--certificates", t.certificates)
	log, err := t.process.StderrPipe()
	if err != nil {
		return err
	}
	// If the test program is killed, the kernel stops the data tier. It sends the signal
	// when the thread that started the process exits, so that thread is kept.
	t.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- t.process.Start()
		<-t.stopped
	}()
	if err := <-started; err != nil {
		return err
	}
	output := &outputBuffer{}
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			output.add(lines.Text())
			if match := serving.FindStringSubmatch(lines.Text()); match != nil {
				address <- match[1]
			}
		}
		close(address)
	}()
	select {
	case a, ok := <-address:
		if !ok {
			return fmt.Errorf("data tier exited:\n%s", output)
		}
		t.address = a
		t.socket, err = socketOf(data)
		return err
	case <-time.After(startTimeout):
		return fmt.Errorf("data tier does not serve after %s:\n%s", startTimeout, output)
	}
}

// socketOf returns the folder of a running server's socket from the fifth line of its
// postmaster.pid.
func socketOf(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return "", errors.New("postmaster.pid is incomplete")
	}
	return strings.TrimSpace(lines[4]), nil
}

// createTemplate renames the migrated database so that tests can clone it, and lets its roles
// log in to the clones. It disables fsync, which would dominate the time to create a
// database: test data need not survive a power failure.
func (t *tier) createTemplate(data string) error {
	name := filepath.Join(data, "pg_hba.conf")
	rules, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	allDatabases := regexp.MustCompile(`(?m)^hostssl( +)`+installed+` `).ReplaceAll(rules, []byte("hostssl${1}all "))
	if bytes.Equal(allDatabases, rules) {
		return fmt.Errorf("%s has no line for the database %s", name, installed)
	}
	if err := os.WriteFile(name, allDatabases, 0o600); err != nil {
		return err
	}
	admin, err := sql.Open("postgres", t.source("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	for _, statement := range []string{`alter database ` + installed + ` rename to ` + template,
		`alter system set fsync = off`, `alter system set full_page_writes = off`, `select pg_reload_conf()`} {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// source returns the data source name for the superuser, who connects over the socket.
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

// stop stops the data tier and deletes its folder.
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
			err = fmt.Errorf("data tier did not stop within %s and was killed", stopTimeout)
		}
		close(t.stopped)
	}
	return errors.Join(err, os.RemoveAll(t.folder))
}

// outputBuffer collects a process's output for error messages.
type outputBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *outputBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.WriteString(line + "\n")
}

func (b *outputBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
