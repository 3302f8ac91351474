package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the start of a process. RabbitMQ on a busy machine takes longest.
	startTimeout = 2 * time.Minute
	// stopTimeout is the time between SIGTERM and SIGKILL.
	stopTimeout = 40 * time.Second
	// A process that exits restarts after a pause that doubles from minBackoff to maxBackoff.
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second
	// maxLogSize is the size at which a log is rotated. One previous log is kept.
	maxLogSize = 64 << 20
)

// process is a supervised program. It restarts whenever it exits, until it is stopped.
type process struct {
	name, address string
	program       string
	arguments     []string
	environment   []string // nil: inherited
	folder        string   // working directory; empty: inherited
	ready         func(context.Context) error
	log           string

	cancel   context.CancelFunc
	done     chan struct{} // closed when supervise returns
	wasReady atomic.Bool
}

// newTier returns the process of a tier's program, which is named after the tier.
func (s site) newTier(name, address string, ready func(context.Context, *process) error, arguments ...string) *process {
	return s.newProcess(name, address, s.binary(name), ready, append([]string{"serve"}, arguments...)...)
}

func (s site) newProcess(name, address, program string, ready func(context.Context, *process) error, arguments ...string) *process {
	p := &process{
		name: name, address: address, program: program, arguments: arguments,
		log: filepath.Join(s.runDir, "logs", name+".log"), done: make(chan struct{}),
	}
	p.ready = func(ctx context.Context) error { return ready(ctx, p) }
	return p
}

func (s site) dataTier() *process {
	return s.newTier("data-tier", s.data, loggedServing,
		"--data-directory", filepath.Join(s.runDir, "data"), "--listen-address", s.data, "--certificates", s.certificates())
}

func (s site) logicTier() *process {
	arguments := []string{
		"--listen-address", s.logic, "--admin-address", s.logicAdmin, "--data-address", s.data, "--certificates", s.certificates(),
		"--scratch", filepath.Join(s.runDir, "scratch"),
	}
	if operators := os.Getenv("OPERATORS"); operators == "" && s.demo {
		arguments = append(arguments, "--operators", "ada")
	}
	if limit := s.storedLimit(); limit != "" {
		arguments = append(arguments, "--stored-limit", limit)
	}
	if s.engine.url != "" {
		arguments = append(arguments, "--broker", s.engine.url)
	}
	return s.newTier("logic-tier", s.logic, readyAt(s.logicAdmin), arguments...)
}

func (s site) webTier() *process {
	return s.newTier("web-tier", s.web, readyAt(s.webAdmin),
		"--listen-address", s.web, "--admin-address", s.webAdmin, "--logic-address", s.logic, "--certificates", s.certificates(),
		"--demo="+strconv.FormatBool(s.demo))
}

// loggedServing returns an error until the process has logged that it serves. It is for
// tiers without an admin address.
func loggedServing(_ context.Context, p *process) error {
	text, err := os.ReadFile(p.log)
	if err != nil || !bytes.Contains(text, []byte("msg=serving")) {
		return errors.New("its log does not contain msg=serving")
	}
	return nil
}

// readyAt returns a check that asks an admin address for /readyz.
func readyAt(address string) func(context.Context, *process) error {
	return func(ctx context.Context, _ *process) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz returned %s", response.Status)
		}
		return nil
	}
}

// start starts the process and waits until it is ready.
func (p *process) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return err
	}
	if err := os.Remove(p.log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	running, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	failed := make(chan error, 1)
	go p.supervise(running, failed)

	ctx, cancelStart := context.WithTimeout(ctx, startTimeout)
	defer cancelStart()
	for {
		err := p.ready(ctx)
		if err == nil {
			p.wasReady.Store(true)
			return nil
		}
		select {
		case cause := <-failed:
			p.stop()
			return fmt.Errorf("%s exited: %w; last lines of %s:\n%s", p.name, cause, p.log, p.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; last lines of %s:\n%s", p.name, err, p.log, p.lastLines())
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// supervise runs the process until ctx is done, and restarts it when it exits. It sends the
// first exit before the process was ready to failed, for start.
func (p *process) supervise(ctx context.Context, failed chan<- error) {
	defer close(p.done)
	// Children receive their parent-death signal when this thread exits, which happens only
	// when the supervisor is killed: no child outlives it.
	runtime.LockOSThread()
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		began := time.Now()
		err := p.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if p.wasReady.Load() {
			fmt.Printf("%s exited (%v); restarting in %s\n", p.name, err, pause)
		} else {
			select {
			case failed <- err:
			default: // start has received an earlier exit
			}
		}
		if time.Since(began) > maxBackoff {
			pause = minBackoff
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// run runs the process until it exits. It sends SIGTERM when ctx is done.
func (p *process) run(ctx context.Context) error {
	if info, err := os.Stat(p.log); err == nil && info.Size() > maxLogSize {
		_ = os.Rename(p.log, p.log+".1")
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, p.program, p.arguments...)
	command.Env, command.Dir = p.environment, p.folder
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	// A session of its own keeps the terminal's Ctrl-C away from the child: the supervisor
	// stops children in order. It also gives each child an equal share of the processors
	// (sched(7), "The autogroup feature").
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return err
	}
	err = command.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// stop stops the process and waits until it has exited. It does nothing if the process was
// never started.
func (p *process) stop() {
	if p.cancel != nil {
		p.cancel()
		<-p.done
	}
}

// lastLines returns the last ten lines of the log.
func (p *process) lastLines() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
