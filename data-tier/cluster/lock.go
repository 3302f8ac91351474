package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errLocked is returned by lockFile when another process holds the lock.
var errLocked = errors.New("locked by another process")

// lockFile opens a file, creating it if needed, and takes its lock (flock(2)).
// The lock is held until the last process that inherited the file closes it.
func lockFile(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	return nil, err
}

// acquire locks the directory for this process, waits until the Postgres of an
// earlier process has exited, and removes the lock files that it left behind.
//
// It takes two locks. This process alone holds the first. The processes of
// Postgres inherit the second (see start), so it is free only when all of them
// have exited, in any PID namespace. The process ids in Postgres's own lock files
// prove nothing: after a crash they often belong to other processes.
func (c *Cluster) acquire(ctx context.Context) error {
	var err error
	c.lock, err = lockFile(c.options.Directory + ".lock")
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another data-tier runs on %s: stop it, or use another --data-directory (DATA_DIRECTORY)", c.options.Directory)
	}
	if err != nil {
		return err
	}
	if err := c.awaitOrphans(ctx); err != nil {
		c.release()
		return err
	}
	return c.removeLockFiles()
}

// release releases the locks of acquire.
func (c *Cluster) release() {
	_ = c.lock.Close()
	if c.serverLock != nil {
		_ = c.serverLock.Close()
	}
}

// awaitOrphans waits for the Postgres of a killed data-tier and takes its lock.
// The kernel has sent it a shutdown signal (see account.configure). After
// stopTimeout it gets an immediate shutdown, and after another stopTimeout a kill.
func (c *Cluster) awaitOrphans(ctx context.Context) error {
	signals := []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL}
	for next, logged := time.Now().Add(stopTimeout), false; ; {
		if c.serverLock == nil {
			lock, err := lockFile(c.options.Directory + ".postgres.lock")
			if err != nil && !errors.Is(err, errLocked) {
				return err
			}
			c.serverLock = lock
		}
		processes := serverProcesses(c.options.Directory)
		if c.serverLock != nil && len(processes) == 0 {
			return nil
		}
		if !logged {
			logged = true
			c.log.Info("waiting until the Postgres of an earlier data-tier has stopped", "processes", processes)
		}
		headless := len(processes) > 0 && !slices.Contains(processes, postmasterPID(c.options.Directory))
		switch {
		case time.Now().Before(next) && !(headless && len(signals) == 2):
		case c.serverLock != nil || len(signals) == 0:
			// A data-tier did not start it, or signals do not reach it.
			return fmt.Errorf("a Postgres (processes %v) still runs on %s: stop it", processes, c.options.Directory)
		default:
			// Backends without their postmaster have no work to finish.
			for _, pid := range processes {
				_ = syscall.Kill(pid, signals[0])
			}
			signals, next = signals[1:], time.Now().Add(stopTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// removeLockFiles removes the lock files of a Postgres that was killed. Postgres
// would refuse to start while any process has a process id from one of them. It
// still checks that no process uses the directory's shared memory, whose key does
// not depend on these files.
func (c *Cluster) removeLockFiles() error {
	socket, err := socketDirectory(c.options.Directory)
	if err != nil {
		return err
	}
	if c.has("postmaster.pid") {
		c.log.Info("removing the lock files of a Postgres that was killed")
	}
	// The socket's folder contains nothing else.
	return errors.Join(c.remove("postmaster.pid"), os.RemoveAll(socket))
}

// serverProcesses returns the ids of the Postgres processes that run on a data
// directory, which is their working directory.
func serverProcesses(directory string) []int {
	data, err := os.Stat(directory)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		process := filepath.Join("/proc", entry.Name())
		if name, err := os.ReadFile(filepath.Join(process, "comm")); err != nil || strings.TrimSpace(string(name)) != "postgres" {
			continue
		}
		if working, err := os.Stat(filepath.Join(process, "cwd")); err == nil && os.SameFile(working, data) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// postmasterPID returns the process id in postmaster.pid, or 0.
func postmasterPID(directory string) int {
	lines, err := postmaster(directory)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return 0
	}
	return pid
}
