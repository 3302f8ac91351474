package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	brokers "techtalks.example/deployments/broker"
	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/freeaddress"
	"techtalks.example/deployments/source"
)

// patience bounds every wait for something to start.
const patience = 3 * time.Minute

// site is what the doctor looks at: real tiers, and a broker, as processes.
type site struct {
	folder                                 string
	primary, standby, logic                *process
	data, standbyAt, logicAt, broker, none string // host:ports; nobody listens on none
}

// the is the site of all tests that only look.
var the site

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "techtalks-doctor-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		defer stopAll()
		if err := the.start(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func (s *site) certificates() string         { return filepath.Join(s.folder, "certificates") }
func (s *site) program(name string) string   { return filepath.Join(s.folder, "bin", name) }
func (s *site) directory(name string) string { return filepath.Join(s.folder, name) }

func (s *site) start(folder string) error {
	s.folder = folder
	if err := os.Chmod(folder, 0o755); err != nil { // Postgres, which is not root, gets to it
		return err
	}
	tree, err := source.Tree()
	if err != nil {
		return err
	}
	if err := source.Build(context.Background(), tree, filepath.Dir(s.program("doctor")), source.DataTier, source.LogicTier, source.Doctor); err != nil {
		return err
	}
	if _, err := certificates.Issue(s.certificates(), nil); err != nil {
		return err
	}
	if s.none, err = freeaddress.Find(); err != nil {
		return err
	}
	var starting sync.WaitGroup
	var brokerErr error
	starting.Go(func() { brokerErr = s.startBroker() })
	if s.primary, s.data, err = s.startData("data", "--archive", s.directory("archive")); err == nil {
		s.standby, s.standbyAt, err = s.startData("standby", "--standby-of", s.data)
	}
	starting.Wait()
	if err != nil {
		return err
	}
	if brokerErr != nil {
		return brokerErr
	}
	s.logic, s.logicAt, err = s.startLogic(s.data, "connected to the data tier")
	return err
}

// startData starts a data tier with a directory of its own, and waits until it serves.
func (s *site) startData(name string, arguments ...string) (*process, string, error) {
	return s.startDataWith(nil, name, arguments...)
}

// startDataWith is startData with more of the environment.
func (s *site) startDataWith(environment []string, name string, arguments ...string) (*process, string, error) {
	p, err := startProcess(s.program("data-tier"), &brokers.Program{Environment: append(os.Environ(), environment...)}, append([]string{"serve", "--data-directory", s.directory(name),
		"--listen-address", "127.0.0.1:0", "--certificates", s.certificates()}, arguments...)...)
	if err != nil {
		return nil, "", err
	}
	line, err := p.says("msg=serving")
	if err != nil {
		return nil, "", err
	}
	found := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(line)
	if found == nil {
		return nil, "", fmt.Errorf("it does not say where it serves: %s", line)
	}
	return p, found[1], nil
}

// startLogic starts a logic tier, and waits until it says something.
func (s *site) startLogic(data, until string) (*process, string, error) {
	at, err := freeaddress.Find()
	if err != nil {
		return nil, "", err
	}
	p, err := startProcess(s.program("logic-tier"), nil, "serve", "--listen-address", at, "--admin-address", "127.0.0.1:0",
		"--data-address", data, "--certificates", s.certificates(), "--scratch", s.directory("scratch"))
	if err != nil {
		return nil, "", err
	}
	_, err = p.says(until)
	return p, at, err
}

func (s *site) startBroker() error {
	at, err := freeaddress.Find()
	if err != nil {
		return err
	}
	configured, err := filepath.Abs("../broker")
	if err != nil {
		return err
	}
	s.broker = at
	node, err := brokers.NewNode(s.directory("broker"), at, s.certificates(), configured, s.program("rabbitmqctl"))
	if err != nil {
		return err
	}
	mapper, server := node.Programs()
	for _, p := range []brokers.Program{mapper, server} {
		if _, err := startProcess(p.Path, &p, p.Arguments...); err != nil {
			return err
		}
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	for again := time.NewTicker(50 * time.Millisecond); ; {
		if err = node.Ping(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker does not answer: %w", err)
		case <-again.C:
		}
	}
}

// process is a program of the site.
type process struct {
	command *exec.Cmd
	ended   chan struct{}

	mu      sync.Mutex
	said    []string
	changed chan struct{} // closed when there is more
}

var running struct {
	sync.Mutex
	all []*process
}

func startProcess(path string, as *brokers.Program, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(path, arguments...), ended: make(chan struct{}), changed: make(chan struct{})}
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if as != nil {
		p.command.Env, p.command.Dir = as.Environment, as.Folder
	}
	reader, writer := io.Pipe()
	p.command.Stdout, p.command.Stderr = writer, writer
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			p.mu.Lock()
			p.said = append(p.said, lines.Text())
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, reader) // a line that is too long
	}()
	go func() {
		_ = p.command.Wait() // how it ends is of no interest here
		_ = writer.Close()
		close(p.ended)
	}()
	running.Lock()
	running.all = append(running.all, p)
	running.Unlock()
	return p, nil
}

// says waits until the process says something, and returns the line.
func (p *process) says(what string) (string, error) {
	late := time.After(patience)
	for from := 0; ; {
		p.mu.Lock()
		lines, changed := p.said[from:], p.changed
		from = len(p.said)
		p.mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, what) {
				return line, nil
			}
		}
		select {
		case <-changed:
		case <-p.ended:
			return "", fmt.Errorf("%s ended:\n%s", p.command.Path, p.last())
		case <-late:
			return "", fmt.Errorf("%s does not say %q:\n%s", p.command.Path, what, p.last())
		}
	}
}

func (p *process) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said[max(0, len(p.said)-20):], "\n")
}

// stop asks the process to stop, and waits until it has.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}

// stopAll stops what runs, the last first.
func stopAll() {
	running.Lock()
	defer running.Unlock()
	for i := len(running.all) - 1; i >= 0; i-- {
		running.all[i].stop()
	}
}
