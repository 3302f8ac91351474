// Package localtest runs TechTalks as "make up" does, for tests. Each site has its own
// supervisor process, run directory and addresses, so that sites can run side by side.
package localtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/freeaddress"
	"techtalks.example/deployments/source"
)

// startTimeout bounds a start and a stop. The first start on a machine compiles everything.
const startTimeout = 5 * time.Minute

// Site is a running site.
type Site struct {
	// Run is the run directory (RUN_DIR): programs in bin, certificates, logs and data.
	Run string
	// URL is the address of the web tier, with its scheme.
	URL string
	// Addresses, as host:port.
	WebAdmin, Logic, LogicAdmin, Data string

	t       *testing.T
	command *exec.Cmd
	exited  chan error

	mu     sync.Mutex
	output bytes.Buffer
}

// buildFolder contains the programs after the first call of build.
var buildFolder string

// build compiles the supervisor and the tiers, once per test binary. Main removes them.
var build = sync.OnceValues(func() (program string, err error) {
	if buildFolder, err = os.MkdirTemp("", "techtalks-local-"); err != nil {
		return "", err
	}
	tree, err := source.Tree()
	if err != nil {
		return "", err
	}
	return filepath.Join(buildFolder, source.Local.Name), source.Build(context.Background(), tree, buildFolder, append(tiers, source.Local)...)
})

// tiers are the programs that the supervisor builds into the run directory.
var tiers = []source.Program{source.DataTier, source.LogicTier, source.Talksctl, source.WebTier}

// linkPrograms hard-links the programs into a run directory. The go command then finds them up
// to date; linking them again would take longer than the rest of a start.
func linkPrograms(run string) error {
	if err := os.MkdirAll(filepath.Join(run, "bin"), 0o755); err != nil {
		return err
	}
	for _, p := range tiers {
		if err := os.Link(filepath.Join(buildFolder, p.Name), filepath.Join(run, "bin", p.Name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// Program builds the supervisor and returns its path.
func Program(t *testing.T) string {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Main runs the tests of a package and removes the programs that they built.
func Main(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(buildFolder)
	os.Exit(code)
}

// Folder returns a new run directory, readable by Postgres, which does not run as root.
func Folder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "techtalks-run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// FreeAddress returns a host:port that no program listens on.
func FreeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeaddress.Find()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// Up starts a site in the directory run and waits until it serves. settings are environment
// variables, as in "OPERATORS=ada". The demo recordings are not loaded unless settings
// contains DEMO_RECORDINGS=true. The site stops when the test finishes.
func Up(t *testing.T, run string, settings ...string) *Site {
	t.Helper()
	s := &Site{t: t, Run: run, WebAdmin: FreeAddress(t), Logic: FreeAddress(t), LogicAdmin: FreeAddress(t), Data: FreeAddress(t), exited: make(chan error, 1)}
	s.command = exec.Command(Program(t))
	if err := linkPrograms(run); err != nil {
		t.Fatal(err)
	}
	s.command.Env = append(os.Environ(), "RUN_DIR="+run, "WEB_ADDRESS="+FreeAddress(t), "WEB_ADMIN_ADDRESS="+s.WebAdmin,
		"LOGIC_ADDRESS="+s.Logic, "LOGIC_ADMIN_ADDRESS="+s.LogicAdmin, "DATA_ADDRESS="+s.Data, "DEMO_RECORDINGS=false")
	s.command.Env = append(s.command.Env, settings...)
	reader, writer := io.Pipe()
	s.command.Stdout, s.command.Stderr = writer, writer
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.exited <- s.command.Wait()
		_ = writer.Close()
	}()
	up := make(chan string, 1)
	go func() {
		address := regexp.MustCompile(`^TechTalks is up: (http://\S+)`)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			s.mu.Lock()
			s.output.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			if found := address.FindStringSubmatch(lines.Text()); found != nil {
				up <- found[1]
			}
		}
	}()
	t.Cleanup(s.Stop)
	select {
	case s.URL = <-up:
	case err := <-s.exited:
		s.exited <- err
		t.Fatalf("the site did not start: %v\n%s", err, s.Output())
	case <-time.After(startTimeout):
		t.Fatalf("the site did not start within %s:\n%s", startTimeout, s.Output())
	}
	return s
}

// Output returns what the supervisor has printed so far.
func (s *Site) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// Stop interrupts the supervisor, as Ctrl-C does, and checks that no process remains.
func (s *Site) Stop() {
	s.t.Helper()
	pids := s.PIDs("")
	if err := s.command.Process.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case err := <-s.exited:
		if err != nil {
			s.t.Errorf("the supervisor exited: %v\n%s", err, s.Output())
		}
	case <-time.After(startTimeout):
		_ = s.command.Process.Kill()
		s.t.Errorf("the supervisor did not stop:\n%s", s.Output())
	}
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			s.t.Errorf("process %d still runs after the supervisor exited", pid)
		}
	}
	AwaitBrokerExit(s.t, s.Run)
}

// KillSupervisor sends SIGKILL to the supervisor and waits until all processes of the site
// have exited.
func (s *Site) KillSupervisor() {
	s.t.Helper()
	if err := s.command.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.exited
	s.Until("no tier runs", func() bool { return len(s.PIDs("")) == 0 })
	AwaitBrokerExit(s.t, s.Run)
}

// PIDs returns the process IDs of the site's programs whose names begin with name.
func (s *Site) PIDs(name string) (found []int) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, filepath.Join(s.Run, "bin")+"/"+name) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// Kill sends SIGKILL to the processes of a tier and waits until the tier serves again.
func (s *Site) Kill(name string) {
	s.t.Helper()
	starts := s.starts(name)
	pids := s.PIDs(name)
	if len(pids) == 0 {
		s.t.Fatalf("no process of %s", name)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
	s.Until(name+" serves again", func() bool { return s.starts(name) > starts })
}

// PeakMemory returns the peak resident set size of a tier's process, in bytes (VmHWM in
// proc(5)).
func (s *Site) PeakMemory(name string) (peak int64) {
	s.t.Helper()
	for _, pid := range s.PIDs(name) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			s.t.Fatal(err)
		}
		found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			s.t.Fatalf("process %d has no VmHWM:\n%s", pid, status)
		}
		kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		peak = max(peak, kilobytes<<10)
	}
	return peak
}

// starts returns how often a tier has begun to serve, according to its log.
func (s *Site) starts(name string) int {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Run, "logs", name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(log), "msg=serving")
}

// Until waits until condition returns true. It fails the test after three minutes; name
// describes the condition in that message.
func (s *Site) Until(name string, condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out after three minutes waiting for: %s\n%s", name, s.Output())
		}
	}
}

// Answers reports whether the site serves a page that needs all three tiers.
func (s *Site) Answers() bool {
	response, err := http.Get(s.URL + "/talks")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Streams returns the number of open browser streams on the web tier.
func (s *Site) Streams() int { return s.gauge("live_streams") }

// LongPolls returns the number of long polls waiting on the web tier.
func (s *Site) LongPolls() int { return s.gauge("live_waiters") }

// gauge returns the value of a web tier metric.
func (s *Site) gauge(name string) int {
	s.t.Helper()
	response, err := http.Get("http://" + s.WebAdmin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindSubmatch(text)
	if found == nil {
		s.t.Fatalf("the web tier's metrics have no %s", name)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// Scratch returns the files in the scratch folder, where the logic tier processes recordings.
func (s *Site) Scratch() (files []string) {
	err := filepath.WalkDir(filepath.Join(s.Run, "scratch"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// AwaitBrokerExit waits until all processes of the site's RabbitMQ have exited. Erlang's
// helper processes exit shortly after the node.
func AwaitBrokerExit(t *testing.T, run string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		processes := BrokerProcesses(t, run)
		if len(processes) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("RabbitMQ processes still run: %v", processes)
		}
	}
}

// BrokerProcesses returns the program names of the site's RabbitMQ processes and their
// children, by process ID. All of them have the broker's folder as HOME.
func BrokerProcesses(t *testing.T, run string) map[int]string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	home := "HOME=" + filepath.Join(run, "broker")
	for _, path := range paths {
		environment, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), home) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		found[pid] = filepath.Base(program)
	}
	return found
}
