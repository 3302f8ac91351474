package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
	"google.golang.org/grpc"

	"techtalks.example/proto/transport"
)

const (
	startTimeout = 5 * time.Minute
	stopTimeout  = 2 * time.Minute
	callTimeout  = 30 * time.Second
)

// site is a running site with three tiers, as "make up" starts it.
type site struct {
	run, web, webAdmin, logic, logicAdmin, data string
	command                                     *exec.Cmd
	exited                                      chan error
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

var isUp = regexp.MustCompile(`^TechTalks is up: `)

// start starts a site in the folder run, with additional settings, and returns the time until it
// served its first page.
func (b *bench) start(ctx context.Context, run string, settings ...string) (*site, time.Duration, error) {
	s := &site{run: run, exited: make(chan error, 1)}
	began := time.Now()
	s.command = exec.Command(b.program("local"))
	s.command.Dir = b.root
	s.command.Env = append(append(os.Environ(), "RUN_DIR="+run), settings...)
	for name, field := range map[string]*string{"WEB_ADDRESS": &s.web, "LOGIC_ADDRESS": &s.logic, "DATA_ADDRESS": &s.data, "WEB_ADMIN_ADDRESS": &s.webAdmin, "LOGIC_ADMIN_ADDRESS": &s.logicAdmin} {
		address, err := freeAddress()
		if err != nil {
			return nil, 0, err
		}
		*field = address
		s.command.Env = append(s.command.Env, name+"="+address)
	}
	output, err := s.command.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	s.command.Stderr = os.Stderr
	// A process group of its own, so that Ctrl-C does not reach it; stop forwards it.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.command.Start(); err != nil {
		return nil, 0, err
	}
	printed, up := &strings.Builder{}, make(chan bool, 1)
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if isUp.MatchString(lines.Text()) {
				up <- true
				break
			}
			printed.WriteString(lines.Text() + "\n")
		}
		close(up)
		_, _ = io.Copy(io.Discard, output)
		s.exited <- s.command.Wait()
	}()
	select {
	case ok := <-up:
		if !ok {
			return nil, 0, fmt.Errorf("the site did not start:\n%s", printed)
		}
	case <-ctx.Done():
		return nil, 0, errors.Join(ctx.Err(), s.stop())
	case <-time.After(startTimeout):
		return nil, 0, errors.Join(errors.New("the site did not start in time"), s.stop())
	}
	if err := s.get(ctx, "/talks", io.Discard); err != nil {
		return nil, 0, errors.Join(err, s.stop())
	}
	return s, time.Since(began), nil
}

func (s *site) stop() error {
	_ = s.command.Process.Signal(os.Interrupt)
	select {
	case err := <-s.exited:
		s.exited <- err
		return err
	case <-time.After(stopTimeout):
		_ = s.command.Process.Kill()
		return errors.New("the site did not stop in time; killed")
	}
}

// restart stops a tier, which the supervisor restarts at once. The new process does not hold the
// memory that password hashing used, which would hide the memory of a browser's stream.
func (s *site) restart(ctx context.Context, tier string) error {
	before := s.pids(tier)
	for _, pid := range before {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return err
		}
	}
	ctx, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	for {
		now := s.pids(tier)
		if len(now) > 0 && !slices.Equal(now, before) && s.get(ctx, "/talks", io.Discard) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not restart: %w", tier, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// running returns the site to measure, and starts it on first use.
func (b *bench) running(ctx context.Context) (*site, error) {
	if b.site != nil {
		return b.site, nil
	}
	s, _, err := b.start(ctx, filepath.Join(b.folder, "site"))
	if err != nil {
		return nil, err
	}
	b.site = s
	return s, nil
}

// runningWithDatabase returns the site to measure and a superuser's connection to its database.
// The caller must close the connection.
func (b *bench) runningWithDatabase(ctx context.Context) (*site, *sql.DB, error) {
	s, err := b.running(ctx)
	if err != nil {
		return nil, nil, err
	}
	db, err := s.superuser(ctx)
	return s, db, err
}

// withCatalogue returns the site to measure, with the catalogue imported.
func (b *bench) withCatalogue(ctx context.Context) (*site, error) {
	s, err := b.running(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = s.importCatalogue(ctx, b.catalogue); err != nil {
		return nil, err
	}
	return s, s.settle(ctx)
}

func (s *site) program(name string) string { return filepath.Join(s.run, "bin", name) }

// pids returns the process IDs of a tier, for the data tier with those of Postgres.
func (s *site) pids(tier string) []int {
	if tier == "data-tier" {
		return append(processes(s.program(tier)), postgresOn(filepath.Join(s.run, "data"))...)
	}
	return processes(s.program(tier))
}

func (s *site) certificates() string { return filepath.Join(s.run, "certificates") }

// get copies a page to dst.
func (s *site) get(ctx context.Context, path string, dst io.Writer) error {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.web+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	_, err = io.Copy(dst, response.Body)
	return err
}

// superuser connects to the database over its Unix socket.
func (s *site) superuser(ctx context.Context) (*sql.DB, error) {
	text, err := os.ReadFile(filepath.Join(s.run, "data", "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return nil, errors.New("postmaster.pid is incomplete")
	}
	db, err := sql.Open("postgres", fmt.Sprintf("host='%s' port=%s user=postgres dbname=techtalks sslmode=disable statement_timeout=0",
		strings.TrimSpace(lines[4]), strings.TrimSpace(lines[3])))
	if err != nil {
		return nil, err
	}
	return db, db.PingContext(ctx)
}

// settle runs vacuum, analyze and a checkpoint now, so that Postgres does not run them in the
// background of the next measurement.
func (s *site) settle(ctx context.Context) error {
	db, err := s.superuser(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range []string{"vacuum analyze", "checkpoint"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// operator connects to the logic tier as the operator.
func (s *site) operator() (*grpc.ClientConn, error) {
	credentials, err := transport.ClientCredentials(s.certificates(), transport.Operator, transport.LogicTier)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(s.logic, grpc.WithTransportCredentials(credentials))
}
