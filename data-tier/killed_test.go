package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// kills is how often a data tier is killed where each start can go wrong by
// chance: about every second one did, when a lock file's number was believed.
const kills = 20

// stranger runs a process of the user that Postgres runs as, until the test
// ends, and returns its number.
func stranger(t *testing.T, directory string) int {
	t.Helper()
	info, err := os.Stat(directory)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sleep", "infinity")
	if os.Geteuid() == 0 {
		owner := info.Sys().(*syscall.Stat_t)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return command.Process.Pid
}

// killBoth kills a data tier and its Postgres, which leaves its lock files.
func (p *process) killBoth() {
	p.t.Helper()
	postgres := p.postgres()
	p.signal(syscall.SIGSTOP) // it must not see Postgres end
	if err := syscall.Kill(postgres, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.signal(syscall.SIGKILL)
	_ = p.awaitEnd()
}

// rewrite replaces the process number in one of Postgres's lock files.
func rewrite(t *testing.T, lockFile string, pid int) {
	t.Helper()
	text, err := os.ReadFile(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(lockFile, []byte(fmt.Sprintf("%d\n%s", pid, rest)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServeIgnoresStaleLockFiles(t *testing.T) {
	t.Parallel()
	// A port of its own, so that the socket has the same name at each start.
	p := start(t, dataFolder(t), certificates, "--listen-address", "127.0.0.2:0")
	pid := stranger(t, p.directory)
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	pidFile, socketLock := filepath.Join(p.directory, "postmaster.pid"), filepath.Join(p.directory+".socket", ".s.PGSQL."+port+".lock")
	for _, c := range []struct {
		name  string
		spoil func(*testing.T)
	}{
		{"PID file names another process", func(t *testing.T) { rewrite(t, pidFile, pid) }},
		{"socket lock names another process", func(t *testing.T) { rewrite(t, socketLock, pid) }},
		{"both name another process", func(t *testing.T) { rewrite(t, pidFile, pid); rewrite(t, socketLock, pid) }},
		{"both are empty", func(t *testing.T) {
			for _, file := range []string{pidFile, socketLock} {
				if err := os.Truncate(file, 0); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		p.killBoth()
		c.spoil(t)
		again, serves := launch(t, p.directory, certificates, "--listen-address", p.address)
		again.awaitServing(serves)
		if _, err := again.connect("talks", "sslmode=verify-ca"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		p = again
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

// As PID 1 of a container: after a kill the same few numbers are given again,
// also to the threads of data-tier itself.
func TestServeRestartsAfterEveryKillInItsOwnPIDNamespace(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	t.Parallel()
	command := []string{"unshare", "--pid", "--fork", "--mount-proc"}
	if os.Geteuid() != 0 {
		command = append(command, "--user", "--map-current-user")
	}
	if output, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made here: %v: %s", err, output)
	}
	directory, copied, binary := dataFolder(t), certificates, program
	if os.Geteuid() == 0 {
		postgres, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("no ordinary user to run it as: %v", err)
		}
		command = append(command, "setpriv", "--reuid", postgres.Uid, "--regid", postgres.Gid, "--clear-groups")
		// That user must own the folder, and read the program and certificates.
		folder := filepath.Dir(directory)
		copied, binary = filepath.Join(folder, "certificates"), filepath.Join(folder, "data-tier")
		if err := os.CopyFS(copied, os.DirFS(certificates)); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(program, binary); err != nil {
			t.Fatal(err)
		}
		if output, err := exec.Command("chown", "-R", postgres.Uid+":"+postgres.Gid, folder).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
	}
	for range kills {
		p, serves := launchCommand(t, append(command, binary), directory, copied, "--listen-address", "127.0.0.2:0")
		p.awaitServing(serves)
		if err := syscall.Kill(p.onlyChild(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = p.awaitEnd()
	}
}

// onlyChild returns the process that unshare runs in the namespace.
func (p *process) onlyChild() int {
	p.t.Helper()
	pid := p.command.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		p.t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		p.t.Fatal(err)
	}
	return child
}

// hasEnded reports whether a process has exited, whether or not its parent has noticed.
func hasEnded(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || strings.Contains(string(status), "State:\tZ")
}

// Two Postgres servers never run on one directory.
func TestServeWaitsForPostgresOfKilledTier(t *testing.T) {
	t.Parallel()
	first := start(t, dataFolder(t), certificates)
	postgres := first.postgres()
	if err := syscall.Kill(postgres, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	first.signal(syscall.SIGKILL)
	// Postgres holds its standard error, so awaitEnd would wait for Postgres.
	until(t, "the first is dead", func() bool { return hasEnded(first.command.Process.Pid) })
	second, serves := launch(t, first.directory, certificates)
	until(t, "the second waits", func() bool {
		return strings.Contains(second.output(), "waiting until the Postgres of an earlier data-tier has stopped")
	})
	if got := first.postgres(); got != postgres {
		t.Errorf("the PID file names %d, want %d, which still runs", got, postgres)
	}
	if err := syscall.Kill(postgres, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	second.awaitServing(serves)
	if !hasEnded(postgres) {
		t.Error("the second serves while the Postgres of the first runs")
	}
}

// A backend that computes does not notice that its postmaster was killed.
func TestServeEndsBackendsWithoutPostmaster(t *testing.T) {
	t.Parallel()
	p := start(t, dataFolder(t), certificates)
	db := p.superuser()
	connection, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var backend int
	if err := connection.QueryRowContext(t.Context(), `select pg_backend_pid()`).Scan(&backend); err != nil {
		t.Fatal(err)
	}
	looped := make(chan error, 1)
	go func() {
		_, err := connection.ExecContext(t.Context(), `do $$ begin loop end loop; end $$`)
		looped <- err
	}()
	until(t, "the backend computes", func() bool {
		return column(t, db, `select state from pg_stat_activity where pid = $1`, backend)[0] == "active"
	})
	p.killBoth()
	if err := syscall.Kill(backend, 0); err != nil {
		t.Fatalf("the backend: %v; it should have outlived its postmaster", err)
	}
	start(t, p.directory, certificates)
	if err := <-looped; err == nil {
		t.Error("an endless loop came to an end")
	}
}
