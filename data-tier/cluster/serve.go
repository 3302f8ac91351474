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
	// startTime bounds recovery after a crash.
	startTime = 2 * time.Minute
	// stopTime bounds a fast shutdown, with its checkpoint; then the server is
	// stopped at once and recovers when it starts.
	stopTime = 30 * time.Second
	// lookEvery is how often the certificates are compared with the files.
	lookEvery = 2 * time.Second
)

// Serve runs Postgres until ctx ends. It calls setUp while only this host and
// its partner can connect, then lets the logic tier in. A standby is not set up:
// it has what its primary has.
func (c *Cluster) Serve(ctx context.Context, setUp func() error) error {
	arguments := append(c.arguments(), c.archiveArguments()...)
	if c.standby {
		follow, err := c.followArguments()
		if err != nil {
			return err
		}
		arguments = append(arguments, follow...)
	}
	// Postgres would say it too, but not which setting it is.
	if _, err := freePort(c.host, c.port); err != nil {
		return addressError(c.options.Address, err)
	}
	server, err := c.start(os.Stderr, arguments)
	if err != nil {
		return err
	}
	err = c.run(ctx, server, setUp)
	if errors.Is(err, errEnded) {
		return fmt.Errorf("Postgres ended by itself; the lines above say why")
	}
	if stopErr := c.stop(server); err == nil {
		err = stopErr
	}
	return err
}

// server is a running Postgres.
type server struct {
	process *os.Process
	ended   <-chan error // has one value, once it ended
}

// start starts Postgres, which writes its log to log.
func (c *Cluster) start(log io.Writer, arguments []string) (server, error) {
	command := exec.Command(c.binaries.path("postgres"), arguments...)
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{c.serverLock} // held by all its processes: see hold
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
		return server{}, fmt.Errorf("start Postgres: %w", err)
	}
	return server{command.Process, ended}, nil
}

var errEnded = errors.New("ended")

func (c *Cluster) run(ctx context.Context, server server, setUp func() error) error {
	as := "primary"
	if c.standby {
		as = "standby"
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
	c.log.Info("serving", "address", net.JoinHostPort(c.host, c.port), "as", as, "postgres", c.binaries.major, "directory", c.options.Directory)
	c.sayRefused()
	look, watch := time.NewTicker(lookEvery), time.NewTicker(sayEvery)
	defer look.Stop()
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-server.ended:
			return errEnded
		case <-watch.C:
			c.sayRefused()
			if c.standby {
				c.watchPrimary(ctx)
			} else if c.options.Archive != "" {
				c.watchArchive(ctx)
			}
		case <-look.C:
			changed, err := c.copyCertificates(c.certificates())
			if err != nil {
				c.log.Warn("certificates not taken; the ones before serve on", "error", err)
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
	ctx, done := context.WithTimeout(ctx, startTime)
	defer done()
	for {
		if err := ping(ctx, c.options.Directory, "postgres"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("Postgres does not answer: %w", ctx.Err())
		case <-server.ended:
			return errEnded
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitStandby waits until a standby answers on its socket. It may need WAL of
// its primary before it does, and waits for that one visibly.
func (c *Cluster) awaitStandby(ctx context.Context, server server) error {
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	for {
		if err := ping(ctx, c.options.Directory, "postgres"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-server.ended:
			return errEnded
		case <-say.C:
			c.watchPrimary(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recover has Postgres recover from a crash, and stops it cleanly. It lets
// nobody in.
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

func (c *Cluster) stop(server server) error {
	c.log.Info("stopping")
	_ = server.process.Signal(syscall.SIGINT)
	select {
	case <-server.ended:
		c.log.Info("stopped")
		return nil
	case <-time.After(stopTime):
	}
	c.log.Warn("a fast shutdown takes too long; stopping at once, it recovers at the next start")
	_ = server.process.Signal(syscall.SIGQUIT)
	select {
	case <-server.ended:
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
