package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// startTimeout bounds recovery after a crash.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds a fast shutdown including its checkpoint. After it comes
	// an immediate shutdown, and recovery at the next start.
	stopTimeout = 30 * time.Second
	// certificateInterval is how often the certificate files are checked for changes.
	certificateInterval = 2 * time.Second
)

// Serve runs Postgres until ctx ends. It calls setUp while only this host and
// other data tiers can connect, then admits the logic tier. On a standby it does
// not call setUp: the primary's roles and schemas are replicated.
func (c *Cluster) Serve(ctx context.Context, setUp func() error) error {
	arguments := append(c.arguments(), c.archiveArguments()...)
	if c.standby {
		follow, err := c.followArguments()
		if err != nil {
			return err
		}
		arguments = append(arguments, follow...)
	}
	// Postgres would report an occupied port too, but not which setting is wrong.
	if _, err := freePort(c.host, c.port); err != nil {
		return addressError(c.options.Address, err)
	}
	server, err := c.start(os.Stderr, arguments)
	if err != nil {
		return err
	}
	err = c.run(ctx, server, setUp)
	if errors.Is(err, errExited) {
		return errors.New("Postgres exited unexpectedly: its log above has the reason")
	}
	if stopErr := c.stop(server); err == nil {
		err = stopErr
	}
	return err
}

// server is a running Postgres.
type server struct {
	process *os.Process
	exited  <-chan error // receives one value when the process has exited
}

// start starts Postgres with its log going to log.
func (c *Cluster) start(log io.Writer, arguments []string) (server, error) {
	command := exec.Command(c.binaries.path("postgres"), arguments...)
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{c.serverLock} // inherited by all its processes: see acquire
	// SIGINT is Postgres's fast shutdown.
	c.account.configure(command, syscall.SIGINT)
	started, exited := make(chan error, 1), make(chan error, 1)
	go func() {
		// Keep the thread until the server has exited: see account.configure.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			exited <- command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return server{}, fmt.Errorf("start Postgres: %w", err)
	}
	return server{command.Process, exited}, nil
}

// errExited is returned when Postgres has exited.
var errExited = errors.New("Postgres exited")

// run waits until the server answers, sets it up, admits the logic tier, and
// watches the server until ctx ends.
func (c *Cluster) run(ctx context.Context, server server, setUp func() error) error {
	role := "primary"
	if c.standby {
		role = "standby"
		if err := c.awaitStandby(ctx, server); err != nil {
			return err
		}
	} else {
		if err := c.awaitStart(ctx, server); err != nil {
			return err
		}
		if err := c.finishPromotion(ctx); err != nil {
			return err
		}
		if err := setUp(); err != nil {
			return err
		}
	}
	if err := c.write("pg_hba.conf", c.options.Access); err != nil {
		return err
	}
	if err := server.process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	c.log.Info("serving", "address", net.JoinHostPort(c.host, c.port), "as", role, "postgres", c.binaries.major, "directory", c.options.Directory)
	c.warnCertificate()
	certificates, watch := time.NewTicker(certificateInterval), time.NewTicker(reportInterval)
	defer certificates.Stop()
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-server.exited:
			return errExited
		case <-watch.C:
			c.warnCertificate()
			if c.standby {
				c.watchPrimary(ctx)
			} else if c.options.Archive != "" {
				c.watchArchive(ctx)
			}
		case <-certificates.C:
			changed, err := c.copyCertificates(c.certificates())
			if err != nil {
				c.log.Warn("invalid certificates; the previous ones stay in use", "error", err)
			}
			if changed {
				c.log.Info("certificates replaced")
				if err := server.process.Signal(syscall.SIGHUP); err != nil {
					return err
				}
			}
		}
	}
}

// awaitStart waits until the server answers on its socket.
func (c *Cluster) awaitStart(ctx context.Context, server server) error {
	ctx, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	for {
		if err := ping(ctx, c.options.Directory, "postgres"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("Postgres does not answer: %w", ctx.Err())
		case <-server.exited:
			return errExited
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitStandby waits until a standby answers on its socket. The standby can need
// WAL from its primary first; while it waits, awaitStandby logs why.
func (c *Cluster) awaitStandby(ctx context.Context, server server) error {
	watch := time.NewTicker(reportInterval)
	defer watch.Stop()
	for {
		if err := ping(ctx, c.options.Directory, "postgres"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-server.exited:
			return errExited
		case <-watch.C:
			c.watchPrimary(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recover lets Postgres recover from a crash, closed to clients, and shuts it down.
func (c *Cluster) recover(ctx context.Context) error {
	server, err := c.start(os.Stderr, append(c.arguments(), "-c", "listen_addresses="))
	if err != nil {
		return err
	}
	if err := c.awaitStart(ctx, server); err != nil {
		return errors.Join(err, c.stop(server))
	}
	return c.stop(server)
}

// stop shuts the server down: fast, and after stopTimeout immediately.
func (c *Cluster) stop(server server) error {
	c.log.Info("stopping")
	_ = server.process.Signal(syscall.SIGINT)
	select {
	case <-server.exited:
		c.log.Info("stopped")
		return nil
	case <-time.After(stopTimeout):
	}
	c.log.Warn("the fast shutdown takes too long; shutting down immediately, Postgres recovers at the next start")
	_ = server.process.Signal(syscall.SIGQUIT)
	select {
	case <-server.exited:
		return nil
	case <-time.After(stopTimeout):
		return errors.New("Postgres does not stop")
	}
}

// pinned calls f on a locked thread: see account.configure.
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
