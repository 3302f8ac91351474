package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"techtalks.example/data-tier/cluster"
)

// patience bounds every wait of these tests; none is expected to take that long.
const patience = 3 * time.Minute

var (
	program      string // path of the data tier, built with the race detector
	certificates string // directory of the certificates of the site's authority
	foreign      string // directory of another authority's, for the same names
)

func TestMain(m *testing.M) { os.Exit(withPrograms(m)) }

// withPrograms runs the tests with the program and the certificates in a folder
// that Postgres, which does not run as root, can enter.
func withPrograms(m *testing.M) int {
	folder, err := os.MkdirTemp("", "techtalks-data-tier-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "data-tier")
	certificates = filepath.Join(folder, "certificates")
	foreign = filepath.Join(folder, "foreign")
	goCommand(".", "build", "-race", "-buildvcs=false", "-o", program, ".")
	issue(certificates)
	issue(foreign)
	return m.Run()
}

func goCommand(folder string, arguments ...string) {
	command := exec.Command("go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go %s: %v\n%s", strings.Join(arguments, " "), err, output))
	}
}

// issue issues certificates, and reissues those that lack one of the hosts.
func issue(directory string, hosts ...string) {
	goCommand("../deployments", "run", "./certificates/issue", "--directory", directory, "--hosts", strings.Join(hosts, ","))
}

// process is a running data tier.
type process struct {
	t            *testing.T
	directory    string
	certificates string
	address      string
	command      *exec.Cmd
	exited       chan error

	mu  sync.Mutex
	log bytes.Buffer
}

// dataFolder returns the path of a data directory that does not exist yet.
func dataFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "techtalks-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "data")
}

var serving = regexp.MustCompile(`msg=serving .*\baddress="?([^" ]+)`)

// startAsync runs a data tier on a data directory until the test ends, and does not
// wait until it serves.
func startAsync(t *testing.T, directory, certificates string, flags ...string) *process {
	t.Helper()
	p, _ := launch(t, directory, certificates, flags...)
	return p
}

// start runs a data tier on a data directory until the test ends. It returns once
// the data tier serves.
func start(t *testing.T, directory, certificates string, flags ...string) *process {
	t.Helper()
	p, serves := launch(t, directory, certificates, flags...)
	p.awaitServing(serves)
	return p
}

func (p *process) awaitServing(serves <-chan string) {
	p.t.Helper()
	select {
	case address, ok := <-serves:
		if !ok {
			p.t.Fatalf("the data tier exited:\n%s", p.output())
		}
		p.address = address
	case <-time.After(patience):
		p.t.Fatalf("the data tier does not serve:\n%s", p.output())
	}
}

func launch(t *testing.T, directory, certificates string, flags ...string) (*process, <-chan string) {
	t.Helper()
	return launchCommand(t, []string{program}, directory, certificates, flags...)
}

// launchCommand is like launch, but runs the program through another command.
func launchCommand(t *testing.T, command []string, directory, certificates string, flags ...string) (*process, <-chan string) {
	t.Helper()
	p := &process{t: t, directory: directory, certificates: certificates, exited: make(chan error, 1)}
	arguments := slices.Concat(command[1:], []string{"serve", "--data-directory", directory, "--certificates", certificates, "--listen-address", "127.0.0.1:0"}, flags)
	p.command = exec.Command(command[0], arguments...)
	log, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	serves := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			if match := serving.FindStringSubmatch(lines.Text()); match != nil {
				serves <- match[1]
			}
		}
		close(serves)
		p.exited <- p.command.Wait()
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		p.awaitExit()
		if t.Failed() {
			t.Log(p.output())
		}
	})
	return p, serves
}

// do runs a command of the data tier and returns its output.
func do(t *testing.T, command string, flags ...string) (string, error) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 2*patience)
	defer done()
	output, err := exec.CommandContext(ctx, program, append([]string{command}, flags...)...).CombinedOutput()
	return string(output), err
}

// must is like do, but fails the test if the command fails.
func must(t *testing.T, command string, flags ...string) string {
	t.Helper()
	output, err := do(t, command, flags...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", command, flags, err, output)
	}
	return output
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) signal(s os.Signal) { _ = p.command.Process.Signal(s) }

// awaitExit waits until the process exits, and can be called repeatedly.
func (p *process) awaitExit() error {
	p.t.Helper()
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(patience):
		p.t.Fatalf("the data tier does not exit:\n%s", p.output())
		return nil
	}
}

// postgres returns the process id of the postmaster.
func (p *process) postgres() int {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.directory, "postmaster.pid"))
	if err != nil {
		p.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		p.t.Fatal(err)
	}
	return pid
}

// connect connects as a role, over TLS and with the logic tier's certificate. The
// options of a connection string override that.
func (p *process) connect(role string, options ...string) (*sql.DB, error) {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	source := fmt.Sprintf("host=%s port=%s dbname=techtalks user=%s connect_timeout=10 sslmode=verify-full sslrootcert=%s/ca.crt sslcert=%s/logic-tier.crt sslkey=%s/logic-tier.key ",
		host, port, role, certificates, certificates, certificates)
	// The last of repeated options counts.
	db, err := sql.Open("postgres", source+strings.Join(options, " "))
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { _ = db.Close() })
	ctx, done := context.WithTimeout(p.t.Context(), patience)
	defer done()
	return db, db.PingContext(ctx)
}

// as returns a connection of a module's role.
func (p *process) as(role string) *sql.DB {
	p.t.Helper()
	db, err := p.connect(role)
	if err != nil {
		p.t.Fatalf("as %s: %v", role, err)
	}
	return db
}

// superuser returns a connection over the socket.
func (p *process) superuser() *sql.DB {
	p.t.Helper()
	source, err := cluster.Socket(p.directory)
	if err != nil {
		p.t.Fatal(err)
	}
	db, err := sql.Open("postgres", source+" dbname=techtalks")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = db.Close() })
	return db
}

// column returns the first column of a query's rows.
func column(t *testing.T, db *sql.DB, query string, arguments ...any) (values []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, arguments...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}
