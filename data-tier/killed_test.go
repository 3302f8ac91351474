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

// kills is how often a data tier is killed where a restart can fail by chance: about
// every second one failed while the process ids in lock files were trusted.
const kills = 20

// startOther runs an unrelated process, as the user that runs Postgres, until the
// test ends, and returns its id.
func startOther(t *testing.T, directory string) int {
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

// killBoth kills a data tier and its Postgres, which leaves its lock files behind.
func (p *process) killBoth() {
	p.t.Helper()
	postgres := p.postgres()
	p.signal(syscall.SIGSTOP) // so that it does not see Postgres exit
	if err := syscall.Kill(postgres, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.signal(syscall.SIGKILL)
	_ = p.awaitExit()
}

// replacePID replaces the process id in one of Postgres's lock files.
func replacePID(t *testing.T, lockFile string, pid int) {
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
	// A fixed port, so that the socket has the same name at each start.
	p := start(t, dataFolder(t), certificates, "--listen-address", "127.0.0.2:0")
	pid := startOther(t, p.directory)
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	pidFile, socketLock := filepath.Join(p.directory, "postmaster.pid"), filepath.Join(p.directory+".socket", ".s.PGSQL."+port+".lock")
	for _, c := range []struct {
		name  string
		spoil func(*testing.T)
	}{
		{"PID file names another process", func(t *testing.T) { replacePID(t, pidFile, pid) }},
		{"socket lock names another process", func(t *testing.T) { replacePID(t, socketLock, pid) }},
		{"both name another process", func(t *testing.T) { replacePID(t, pidFile, pid); replacePID(t, socketLock, pid) }},
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
		t.Errorf("the other process was killed: %v", err)
	}
}

// data-tier runs as PID 1, as in a container: after a kill the same few process ids
// are assigned again, also to the threads of data-tier itself.
func TestServeRestartsAfterEveryKillInPIDNamespace(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	t.Parallel()
	command := []string{"unshare", "--pid", "--fork", "--mount-proc"}
	if os.Geteuid() != 0 {
		command = append(command, "--user", "--map-current-user")
	}
	if output, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("cannot create a PID namespace: %v: %s", err, output)
	}
	directory, copied, binary := dataFolder(t), certificates, program
	if os.Geteuid() == 0 {
		postgres, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("no unprivileged user: %v", err)
		}
		command = append(command, "setpriv", "--reuid", postgres.Uid, "--regid", postgres.Gid, "--clear-groups")
		// The user must own the folder and be able to read the program and certificates.
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
		_ = p.awaitExit()
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

// hasExited reports whether a process has exited, even if it has not been reaped.
func hasExited(pid int) bool {
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
	// Postgres inherited standard error, so awaitExit would wait for Postgres.
	until(t, "the first data-tier has exited", func() bool { return hasExited(first.command.Process.Pid) })
	second, serves := launch(t, first.directory, certificates)
	until(t, "the second data-tier waits", func() bool {
		return strings.Contains(second.output(), "waiting until the Postgres of an earlier data-tier has stopped")
	})
	if got := first.postgres(); got != postgres {
		t.Errorf("the PID file names %d, want %d, which still runs", got, postgres)
	}
	if err := syscall.Kill(postgres, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	second.awaitServing(serves)
	if !hasExited(postgres) {
		t.Error("the second data-tier serves while the Postgres of the first runs")
	}
}

// A busy backend does not notice that its postmaster was killed.
func TestServeKillsBackendsWithoutPostmaster(t *testing.T) {
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
	until(t, "the backend is busy", func() bool {
		return column(t, db, `select state from pg_stat_activity where pid = $1`, backend)[0] == "active"
	})
	p.killBoth()
	if err := syscall.Kill(backend, 0); err != nil {
		t.Fatalf("the backend did not outlive its postmaster: %v", err)
	}
	start(t, p.directory, certificates)
	if err := <-looped; err == nil {
		t.Error("the endless loop finished, want its backend killed")
	}
}
