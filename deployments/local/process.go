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
	// startTime is how long a tier may take to be ready: RabbitMQ, on a busy machine.
	startTime = 2 * time.Minute
	// stopTime is how long it may take to stop before it is killed.
	stopTime = 40 * time.Second
	// Pauses before a tier that died is started again.
	firstPause = 200 * time.Millisecond
	longPause  = 10 * time.Second
	// maxLog bounds a log; the one before is kept beside it.
	maxLog = 64 << 20
)

// tier is a process that runs until it is stopped: should it die, it is started
// again.
type tier struct {
	name, address string
	program       string
	arguments     []string
	environment   []string // nil: as ours
	folder        string   // that it runs in; empty: ours
	ready         func(context.Context) error
	log           string

	cancel context.CancelFunc
	ended  chan struct{}
	up     atomic.Bool // it was ready once
}

func (s site) tier(name, address string, ready func(context.Context, *tier) error, arguments ...string) *tier {
	return s.process(name, address, s.binary(name), ready, append([]string{"serve"}, arguments...)...)
}

func (s site) process(name, address, program string, ready func(context.Context, *tier) error, arguments ...string) *tier {
	t := &tier{
		name: name, address: address, program: program, arguments: arguments,
		log: filepath.Join(s.run, "logs", name+".log"), ended: make(chan struct{}),
	}
	t.ready = func(ctx context.Context) error { return ready(ctx, t) }
	return t
}

func (s site) dataTier() *tier {
	return s.tier("data-tier", s.data, servingInLog,
		"--data-directory", filepath.Join(s.run, "data"), "--listen-address", s.data, "--certificates", s.certificates())
}

func (s site) logicTier() *tier {
	arguments := []string{
		"--listen-address", s.logic, "--admin-address", s.logicAdmin, "--data-address", s.data, "--certificates", s.certificates(),
		"--scratch", filepath.Join(s.run, "scratch"),
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
	return s.tier("logic-tier", s.logic, readyAt(s.logicAdmin), arguments...)
}

func (s site) webTier() *tier {
	return s.tier("web-tier", s.web, readyAt(s.webAdmin),
		"--listen-address", s.web, "--admin-address", s.webAdmin, "--logic-address", s.logic, "--certificates", s.certificates(),
		"--demo="+strconv.FormatBool(s.demo))
}

// servingInLog waits for the line by which a tier without an admin address says
// that it serves.
func servingInLog(_ context.Context, t *tier) error {
	text, err := os.ReadFile(t.log)
	if err != nil || !bytes.Contains(text, []byte("msg=serving")) {
		return errors.New("it does not say that it serves")
	}
	return nil
}

func readyAt(address string) func(context.Context, *tier) error {
	return func(ctx context.Context, _ *tier) error {
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
			return fmt.Errorf("its /readyz says %s", response.Status)
		}
		return nil
	}
}

// start starts the tier and waits until it is ready.
func (t *tier) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(t.log), 0o755); err != nil {
		return err
	}
	if err := os.Remove(t.log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	running, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	died := make(chan error, 1)
	go t.keep(running, died)

	ctx, done := context.WithTimeout(ctx, startTime)
	defer done()
	for {
		err := t.ready(ctx)
		if err == nil {
			t.up.Store(true)
			return nil
		}
		select {
		case cause := <-died:
			t.stop()
			return fmt.Errorf("%s ended (%w); the end of %s:\n%s", t.name, cause, t.log, t.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; the end of %s:\n%s", t.name, err, t.log, t.lastLines())
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// keep runs the tier until ctx ends; when it dies it is started again. died is
// told of a death before the tier was ready, for start.
func (t *tier) keep(ctx context.Context, died chan<- error) {
	defer close(t.ended)
	// The children get a signal when this thread ends, which is when this
	// process is killed: no tier outlives it.
	runtime.LockOSThread()
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		began := time.Now()
		err := t.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if t.up.Load() {
			fmt.Printf("%s ended (%v); starting it again in %s\n", t.name, err, pause)
		} else {
			select {
			case died <- err:
			default: // start has heard already
			}
		}
		if time.Since(began) > longPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// once runs the tier until it ends; when ctx ends it is asked to.
func (t *tier) once(ctx context.Context) error {
	if info, err := os.Stat(t.log); err == nil && info.Size() > maxLog {
		_ = os.Rename(t.log, t.log+".1")
	}
	log, err := os.OpenFile(t.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, t.program, t.arguments...)
	command.Env, command.Dir = t.environment, t.folder
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTime
	// In a session of its own, so that Ctrl-C reaches it through us alone, in its turn,
	// and its load takes no more of the processors than another's (sched(7), "The autogroup
	// feature").
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return err
	}
	err = command.Wait()
	if err == nil {
		err = errors.New("it stopped by itself")
	}
	return err
}

// stop asks the tier to stop and waits until it has.
func (t *tier) stop() {
	if t.cancel != nil {
		t.cancel()
		<-t.ended
	}
}

func (t *tier) lastLines() string {
	text, err := os.ReadFile(t.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
