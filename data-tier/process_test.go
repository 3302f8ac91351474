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

// patience bounds every wait of these tests; none is expected to take it.
const patience = 3 * time.Minute

var (
	program      string // the data tier, built with the race detector
	certificates string // of our authority
	foreign      string // of another authority, for the same names
)

func TestMain(m *testing.M) { os.Exit(withPrograms(m)) }

// withPrograms builds what the tests run, in a folder that Postgres, which does
// not run as root, may enter.
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

// issue makes certificates, or makes those anew that lack one of the hosts.
func issue(directory string, hosts ...string) {
	goCommand("../deployments", "run", "./certificates/issue", "--directory", directory, "--hosts", strings.Join(hosts, ","))
}

// process is a data tier that serves.
type process struct {
	t            *testing.T
	directory    string
	certificates string
	address      string
	command      *exec.Cmd
	ended        chan error

	mu   sync.Mutex
	said bytes.Buffer
}

// dataFolder returns where a data directory can be made.
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

// begin runs a data tier on a data directory until the test ends.
func begin(t *testing.T, directory, certificates string, flags ...string) *process {
	t.Helper()
	p, _ := launch(t, directory, certificates, flags...)
	return p
}

// start is begin, and waits until it serves.
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
			p.t.Fatalf("it ended at once:\n%s", p.output())
		}
		p.address = address
	case <-time.After(patience):
		p.t.Fatalf("it does not serve:\n%s", p.output())
	}
}

func launch(t *testing.T, directory, certificates string, flags ...string) (*process, <-chan string) {
	t.Helper()
	return launchCommand(t, []string{program}, directory, certificates, flags...)
}

// launchCommand is launch for a program that a longer command line runs.
func launchCommand(t *testing.T, command []string, directory, certificates string, flags ...string) (*process, <-chan string) {
	t.Helper()
	p := &process{t: t, directory: directory, certificates: certificates, ended: make(chan error, 1)}
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
			p.said.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			if found := serving.FindStringSubmatch(lines.Text()); found != nil {
				serves <- found[1]
			}
		}
		close(serves)
		p.ended <- p.command.Wait()
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		p.awaitEnd()
		if t.Failed() {
			t.Log(p.output())
		}
	})
	return p, serves
}

// do runs another command of the data tier and returns what it says.
func do(t *testing.T, command string, flags ...string) (string, error) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 2*patience)
	defer done()
	output, err := exec.CommandContext(ctx, program, append([]string{command}, flags...)...).CombinedOutput()
	return string(output), err
}

// must is do, and succeeds.
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
	return p.said.String()
}

func (p *process) signal(s os.Signal) { _ = p.command.Process.Signal(s) }

// awaitEnd waits for the process, and may be called again.
func (p *process) awaitEnd() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(patience):
		p.t.Fatalf("it does not end:\n%s", p.output())
		return nil
	}
}

// postgres returns the process id of its server.
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

// connect connects by a connection string's options, beside those of a role that
// comes as it should: over TLS, by the logic tier's certificate.
func (p *process) connect(role string, options ...string) (*sql.DB, error) {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	source := fmt.Sprintf("host=%s port=%s dbname=techtalks user=%s connect_timeout=10 sslmode=verify-full sslrootcert=%s/ca.crt sslcert=%s/logic-tier.crt sslkey=%s/logic-tier.key ",
		host, port, role, certificates, certificates, certificates)
	// Of an option given twice the last counts.
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
