package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout bounds the time that a process takes to exit.
const stopTimeout = time.Minute

// Process is a program that runs on a host.
type Process struct {
	Host      *Host
	Name      string
	program   string
	arguments []string
	settings  []string

	mu      sync.Mutex
	command *exec.Cmd
	exited  chan struct{}
	err     error
}

// Start starts a program on the host, with settings ("NAME=value") added to the environment.
// Log returns its output.
func (h *Host) Start(name, program string, settings []string, arguments ...string) (*Process, error) {
	p := &Process{Host: h, Name: name, program: program, arguments: arguments, settings: settings}
	if err := p.Start(); err != nil {
		return nil, err
	}
	h.processes = append(h.processes, p)
	return p, nil
}

// Command returns a command that runs on the host, with settings added to the environment,
// and is killed when ctx is done.
func (h *Host) Command(ctx context.Context, settings []string, program string, arguments ...string) *exec.Cmd {
	var command *exec.Cmd
	switch {
	case h.namespace == "":
		command = exec.CommandContext(ctx, program, arguments...)
	case h.container != nil:
		command = exec.CommandContext(ctx, "nsenter", append(append(h.container.enter(), program), arguments...)...)
	default:
		// Each program executes the next one, so that the process ID is the last one's.
		command = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace, "unshare", "--uts", "sh", "-c",
			`hostname "$0" && exec "$@"`, h.Name, program}, arguments...)...)
	}
	command.Env = append(os.Environ(), settings...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The program may be a child of nsenter.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	return command
}

// Start starts the process, or restarts it after it has exited.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	var command *exec.Cmd
	if c := p.Host.container; c != nil {
		command = c.run(p.Name, p.settings, p.program, p.arguments)
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	} else {
		command = p.Host.Command(context.Background(), p.settings, p.program, p.arguments...)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s on %s: %w", p.Name, p.Host.Name, err)
	}
	exited := make(chan struct{})
	p.command, p.exited = command, exited
	go func() {
		err := command.Wait()
		p.mu.Lock()
		if p.exited == exited {
			p.err = err
		}
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

// SetEnv adds a setting that takes effect at the next Start.
func (p *Process) SetEnv(setting string) { p.settings = append(p.settings, setting) }

func (p *Process) logFile() string {
	return filepath.Join(p.Host.lab.folder, p.Host.Name+"."+p.Name+".log")
}

// Log returns the output of the process, of all its starts.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail returns the last lines of the log.
func (p *Process) LogTail(lines int) string {
	log := strings.Split(strings.TrimSpace(p.Log()), "\n")
	return strings.Join(log[max(0, len(log)-lines):], "\n")
}

// Running reports whether the process is running.
func (p *Process) Running() bool {
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

// Kill kills the process and its process group.
func (p *Process) Kill() {
	if c := p.Host.container; c == nil {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	} else if p.Running() {
		c.kill(p.Name)
	}
	p.awaitExit()
}

// Stop sends SIGTERM and waits for the process to exit. It returns an error if the process
// exits with one, or had to be killed after stopTimeout.
func (p *Process) Stop() error {
	_ = syscall.Kill(p.pid(), syscall.SIGTERM)
	if !p.awaitExit() {
		p.Kill()
		return fmt.Errorf("%s on %s did not stop and was killed:\n%s", p.Name, p.Host.Name, p.LogTail(20))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("%s on %s exited: %w", p.Name, p.Host.Name, p.err)
	}
	return nil
}

func (p *Process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command.Process.Pid
}

// awaitExit reports whether the process exits within stopTimeout.
func (p *Process) awaitExit() bool {
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	select {
	case <-exited:
		return true
	case <-time.After(stopTimeout):
		return false
	}
}
