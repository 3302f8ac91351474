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

// stopTime bounds how long a process may take to stop.
const stopTime = time.Minute

// Process is a program that runs on a host.
type Process struct {
	Host    *Host
	Name    string
	program string
	flags   []string
	setting []string

	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// Start runs a program on the host, with settings in its environment. What it says goes
// to Log.
func (h *Host) Start(name, program string, settings []string, arguments ...string) (*Process, error) {
	p := &Process{Host: h, Name: name, program: program, flags: arguments, setting: settings}
	if err := p.Start(); err != nil {
		return nil, err
	}
	h.processes = append(h.processes, p)
	return p, nil
}

// Command returns a command that runs on the host, with settings in its environment, until
// ctx ends.
func (h *Host) Command(ctx context.Context, settings []string, program string, arguments ...string) *exec.Cmd {
	var command *exec.Cmd
	switch {
	case h.namespace == "":
		command = exec.CommandContext(ctx, program, arguments...)
	case h.container != nil:
		command = exec.CommandContext(ctx, "nsenter", append(append(h.container.enter(), program), arguments...)...)
	default:
		// Each of the three becomes the next: the process is the program's.
		command = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace, "unshare", "--uts", "sh", "-c",
			`hostname "$0" && exec "$@"`, h.Name, program}, arguments...)...)
	}
	command.Env = append(os.Environ(), settings...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The program may be a child of the command's.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	return command
}

// Start starts the process, again after it has ended.
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
		command = c.run(p.Name, p.setting, p.program, p.flags)
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	} else {
		command = p.Host.Command(context.Background(), p.setting, p.program, p.flags...)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s on %s: %w", p.Name, p.Host.Name, err)
	}
	ended := make(chan struct{})
	p.command, p.ended = command, ended
	go func() {
		err := command.Wait()
		p.mu.Lock()
		if p.ended == ended {
			p.err = err
		}
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// Set changes a setting for the next Start.
func (p *Process) Set(setting string) { p.setting = append(p.setting, setting) }

func (p *Process) logFile() string {
	return filepath.Join(p.Host.lab.folder, p.Host.Name+"."+p.Name+".log")
}

// Log returns what the process has said, since its host is there.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// End returns the end of what it has said.
func (p *Process) End(lines int) string {
	all := strings.Split(strings.TrimSpace(p.Log()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Running says whether it has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// Kill ends the process as a crash does, with all that it started and that did not
// leave its process group.
func (p *Process) Kill() {
	if c := p.Host.container; c == nil {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	} else if p.Running() {
		c.kill(p.Name)
	}
	p.await()
}

// Stop asks it to stop, and waits until it has.
func (p *Process) Stop() error {
	_ = syscall.Kill(p.pid(), syscall.SIGTERM)
	if !p.await() {
		p.Kill()
		return fmt.Errorf("%s on %s does not stop; killed:\n%s", p.Name, p.Host.Name, p.End(20))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("%s on %s ended with %w", p.Name, p.Host.Name, p.err)
	}
	return nil
}

func (p *Process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command.Process.Pid
}

func (p *Process) await() bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	select {
	case <-ended:
		return true
	case <-time.After(stopTime):
		return false
	}
}
