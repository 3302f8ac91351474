package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// startTime bounds recovery after a crash.
	startTime = 2 * time.Minute
	// stopTime bounds a fast shutdown, with its checkpoint; then the server is
	// stopped at once and recovers when it starts.
	stopTime = 30 * time.Second
	// lookEvery is how often the certificates are compared with the files.
	lookEvery = 2 * time.Second
)

// Serve runs Postgres until ctx ends. It calls setUp while only this host can
// connect, then lets the logic tier in.
func (c *Cluster) Serve(ctx context.Context, setUp func() error) error {
	command := exec.Command(c.binaries.path("postgres"), c.arguments()...)
	command.Dir = "/"
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	// SIGINT is Postgres's fast shutdown.
	c.account.become(command, syscall.SIGINT)
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// Until the server has ended: see become.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			ended <- command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	err := c.run(ctx, command.Process, ended, setUp)
	if errors.Is(err, errEnded) {
		return fmt.Errorf("Postgres ended by itself; the lines above say why")
	}
	if stopErr := c.stop(command.Process, ended); err == nil {
		err = stopErr
	}
	return err
}

var errEnded = errors.New("ended")

func (c *Cluster) run(ctx context.Context, server *os.Process, ended <-chan error, setUp func() error) error {
	if err := c.awaitStart(ctx, ended); err != nil {
		return err
	}
	if err := setUp(); err != nil {
		return err
	}
	if err := c.write("pg_hba.conf", c.options.Access); err != nil {
		return err
	}
	if err := server.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	c.log.Info("serving", "address", net.JoinHostPort(c.host, c.port), "postgres", c.binaries.major, "directory", c.options.Directory)
	for look := time.NewTicker(lookEvery); ; {
		select {
		case <-ctx.Done():
			look.Stop()
			return nil
		case <-ended:
			look.Stop()
			return errEnded
		case <-look.C:
			changed, err := c.copyCertificates()
			if err != nil {
				c.log.Warn("certificates not taken; the ones before serve on", "error", err)
			}
			if changed {
				c.log.Info("certificates replaced")
				if err := server.Signal(syscall.SIGHUP); err != nil {
					return err
				}
			}
		}
	}
}

// awaitStart waits until the server answers on its socket.
func (c *Cluster) awaitStart(ctx context.Context, ended <-chan error) error {
	ctx, done := context.WithTimeout(ctx, startTime)
	defer done()
	for {
		if err := ping(ctx, c.options.Directory, "postgres"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("Postgres does not answer: %w", ctx.Err())
		case <-ended:
			return errEnded
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) stop(server *os.Process, ended <-chan error) error {
	c.log.Info("stopping")
	_ = server.Signal(syscall.SIGINT)
	select {
	case <-ended:
		c.log.Info("stopped")
		return nil
	case <-time.After(stopTime):
	}
	c.log.Warn("a fast shutdown takes too long; stopping at once, it recovers at the next start")
	_ = server.Signal(syscall.SIGQUIT)
	select {
	case <-ended:
		return nil
	case <-time.After(stopTime):
		return errors.New("Postgres does not stop")
	}
}

// pinned calls f on a thread of its own for as long as it takes: see become.
func pinned(f func() ([]byte, error)) (output []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		output, err = f()
	}()
	<-done
	return output, err
}
