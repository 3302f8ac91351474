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

// startTimeout bounds each wait for a process to start.
const startTimeout = 3 * time.Minute

// site is a site for the doctor to check: processes of the data tier, its standby, the logic
// tier and a broker.
type site struct {
	folder                                                           string
	primary, standby, logic                                          *process
	dataAddress, standbyAddress, logicAddress, brokerAddress, unused string // no process listens on unused
}

// shared is the site of all tests that do not change it.
var shared site

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "techtalks-doctor-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		defer stopAll()
		if err := shared.start(folder); err != nil {
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
	if err := os.Chmod(folder, 0o755); err != nil { // for Postgres, which does not run as root
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
	if s.unused, err = freeaddress.Find(); err != nil {
		return err
	}
	var starting sync.WaitGroup
	var brokerErr error
	starting.Go(func() { brokerErr = s.startBroker() })
	if s.primary, s.dataAddress, err = s.startData("data", "--archive", s.directory("archive")); err == nil {
		s.standby, s.standbyAddress, err = s.startData("standby", "--standby-of", s.dataAddress)
	}
	starting.Wait()
	if err != nil {
		return err
	}
	if brokerErr != nil {
		return brokerErr
	}
	s.logic, s.logicAddress, err = s.startLogic(s.dataAddress, "connected to the data tier")
	return err
}

// startData starts a data tier with a new directory, waits until it serves, and returns its
// address.
func (s *site) startData(name string, arguments ...string) (*process, string, error) {
	return s.startDataWith(nil, name, arguments...)
}

// startDataWith is startData with additional environment variables.
func (s *site) startDataWith(environment []string, name string, arguments ...string) (*process, string, error) {
	p, err := startProcess(s.program("data-tier"), &brokers.Program{Environment: append(os.Environ(), environment...)}, append([]string{"serve", "--data-directory", s.directory(name),
		"--listen-address", "127.0.0.1:0", "--certificates", s.certificates()}, arguments...)...)
	if err != nil {
		return nil, "", err
	}
	line, err := p.awaitOutput("msg=serving")
	if err != nil {
		return nil, "", err
	}
	found := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(line)
	if found == nil {
		return nil, "", fmt.Errorf("no address in %q", line)
	}
	return p, found[1], nil
}

// startLogic starts a logic tier, waits until its output contains a text, and returns its
// address.
func (s *site) startLogic(data, text string) (*process, string, error) {
	address, err := freeaddress.Find()
	if err != nil {
		return nil, "", err
	}
	p, err := startProcess(s.program("logic-tier"), nil, "serve", "--listen-address", address, "--admin-address", "127.0.0.1:0",
		"--data-address", data, "--certificates", s.certificates(), "--scratch", s.directory("scratch"))
	if err != nil {
		return nil, "", err
	}
	_, err = p.awaitOutput(text)
	return p, address, err
}

func (s *site) startBroker() error {
	address, err := freeaddress.Find()
	if err != nil {
		return err
	}
	configured, err := filepath.Abs("../broker")
	if err != nil {
		return err
	}
	s.brokerAddress = address
	node, err := brokers.NewNode(s.directory("broker"), address, s.certificates(), configured, s.program("rabbitmqctl"))
	if err != nil {
		return err
	}
	mapper, server := node.Programs()
	for _, p := range []brokers.Program{mapper, server} {
		if _, err := startProcess(p.Path, &p, p.Arguments...); err != nil {
			return err
		}
	}
	ctx, done := context.WithTimeout(context.Background(), startTimeout)
	defer done()
	for ticker := time.NewTicker(50 * time.Millisecond); ; {
		if err = node.Ping(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker does not start: %w", err)
		case <-ticker.C:
		}
	}
}

// process is a program of the site.
type process struct {
	command *exec.Cmd
	exited  chan struct{}

	mu      sync.Mutex
	output  []string
	changed chan struct{} // closed after each line of output
}

var running struct {
	sync.Mutex
	all []*process
}

func startProcess(path string, program *brokers.Program, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(path, arguments...), exited: make(chan struct{}), changed: make(chan struct{})}
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if program != nil {
		p.command.Env, p.command.Dir = program.Environment, program.Folder
	}
	reader, writer := io.Pipe()
	p.command.Stdout, p.command.Stderr = writer, writer
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			p.mu.Lock()
			p.output = append(p.output, lines.Text())
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, reader) // after a line that is too long for the scanner
	}()
	go func() {
		_ = p.command.Wait() // the exit code is irrelevant
		_ = writer.Close()
		close(p.exited)
	}()
	running.Lock()
	running.all = append(running.all, p)
	running.Unlock()
	return p, nil
}

// awaitOutput waits until a line of output contains a text, and returns the line.
func (p *process) awaitOutput(text string) (string, error) {
	timeout := time.After(startTimeout)
	for next := 0; ; {
		p.mu.Lock()
		lines, changed := p.output[next:], p.changed
		next = len(p.output)
		p.mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, text) {
				return line, nil
			}
		}
		select {
		case <-changed:
		case <-p.exited:
			return "", fmt.Errorf("%s exited:\n%s", p.command.Path, p.outputTail())
		case <-timeout:
			return "", fmt.Errorf("%s: no output %q within the timeout:\n%s", p.command.Path, text, p.outputTail())
		}
	}
}

func (p *process) outputTail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.output[max(0, len(p.output)-20):], "\n")
}

// stop sends SIGTERM and waits for the process to exit; it kills the process after
// startTimeout.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails if the process has exited
	select {
	case <-p.exited:
	case <-time.After(startTimeout):
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// stopAll stops all processes in reverse order of their start.
func stopAll() {
	running.Lock()
	defer running.Unlock()
	for i := len(running.all) - 1; i >= 0; i-- {
		running.all[i].stop()
	}
}
