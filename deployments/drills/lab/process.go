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

// Start runs a program on the host, with settings in its environment beside this
// process's own. What it says goes to Log.
func (h *Host) Start(name, program string, settings []string, arguments ...string) (*Process, error) {
	p := &Process{Host: h, Name: name, program: program, flags: arguments, setting: settings}
	if err := p.Start(); err != nil {
		return nil, err
	}
	h.processes = append(h.processes, p)
	return p, nil
}

// Command returns a command that runs on the host.
func (h *Host) Command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	if h.namespace == "" {
		return exec.CommandContext(ctx, program, arguments...)
	}
	// Each of the three becomes the next: the process is the program's.
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace, "unshare", "--uts", "sh", "-c",
		`hostname "$0" && exec "$@"`, h.Name, program}, arguments...)...)
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
	command := p.Host.Command(context.Background(), p.program, p.flags...)
	command.Env = append(os.Environ(), p.setting...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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

// Pid returns its process id.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command.Process.Pid
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
	p.signal(syscall.SIGKILL)
	p.await()
}

// Stop asks it to stop, and waits until it has.
func (p *Process) Stop() error {
	p.signal(syscall.SIGTERM)
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

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) error { return syscall.Kill(p.Pid(), s) }

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	pid := p.command.Process.Pid
	p.mu.Unlock()
	if s == syscall.SIGKILL {
		_ = syscall.Kill(-pid, s)
		return
	}
	_ = syscall.Kill(pid, s)
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
