// Package localtest runs what "make up" runs, for tests: the supervisor as a process of
// its own, with its own run folder and addresses, so that sites can run side by side.
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

// patience bounds every wait; the first start on a machine compiles everything.
const patience = 5 * time.Minute

// Site is a running site.
type Site struct {
	// Run is its RUN_DIR: programs in bin, certificates, logs and data.
	Run string
	// URL is the web tier's address, with the scheme.
	URL string
	// WebAdmin, Logic, LogicAdmin and Data are host:ports.
	WebAdmin, Logic, LogicAdmin, Data string

	t       *testing.T
	command *exec.Cmd
	ended   chan error

	mu   sync.Mutex
	said bytes.Buffer
}

// buildFolder holds the programs once build has been called.
var buildFolder string

// build compiles the supervisor and what it runs, once for a test program; Main removes
// the programs.
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

// tiers are the programs that the supervisor builds into a site's folder.
var tiers = []source.Program{source.DataTier, source.LogicTier, source.Talksctl, source.WebTier}

// provide links the programs into a run folder. The go command finds them up to date and
// links none again, which would take longer than all else that a start does.
func provide(run string) error {
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

// Program returns the supervisor's path.
func Program(t *testing.T) string {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Main runs a package's tests and removes the supervisor that they built.
func Main(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(buildFolder)
	os.Exit(code)
}

// Folder returns a new RUN_DIR. Postgres, which does not run as root, can enter it.
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

// Free returns an address that no program listens on.
func Free(t *testing.T) string {
	t.Helper()
	address, err := freeaddress.Find()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// Up starts a site in the folder run and waits until it serves. settings are further
// environment variables, as in "OPERATORS=ada". The demo's recordings are not processed
// unless DEMO_RECORDINGS=true is among them. The site stops when the test ends.
func Up(t *testing.T, run string, settings ...string) *Site {
	t.Helper()
	s := &Site{t: t, Run: run, WebAdmin: Free(t), Logic: Free(t), LogicAdmin: Free(t), Data: Free(t), ended: make(chan error, 1)}
	s.command = exec.Command(Program(t))
	if err := provide(run); err != nil {
		t.Fatal(err)
	}
	s.command.Env = append(os.Environ(), "RUN_DIR="+run, "WEB_ADDRESS="+Free(t), "WEB_ADMIN_ADDRESS="+s.WebAdmin,
		"LOGIC_ADDRESS="+s.Logic, "LOGIC_ADMIN_ADDRESS="+s.LogicAdmin, "DATA_ADDRESS="+s.Data, "DEMO_RECORDINGS=false")
	s.command.Env = append(s.command.Env, settings...)
	output, write := io.Pipe()
	s.command.Stdout, s.command.Stderr = write, write
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.ended <- s.command.Wait()
		_ = write.Close()
	}()
	up := make(chan string, 1)
	go func() {
		address := regexp.MustCompile(`^TechTalks is up: (http://\S+)`)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			s.mu.Lock()
			s.said.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			if found := address.FindStringSubmatch(lines.Text()); found != nil {
				up <- found[1]
			}
		}
	}()
	t.Cleanup(s.Stop)
	select {
	case s.URL = <-up:
	case err := <-s.ended:
		s.ended <- err
		t.Fatalf("the site does not start: %v\n%s", err, s.Output())
	case <-time.After(patience):
		t.Fatalf("the site does not start within %s:\n%s", patience, s.Output())
	}
	return s
}

func (s *Site) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// Stop interrupts the supervisor, as Ctrl-C does, and checks that no process is left.
func (s *Site) Stop() {
	s.t.Helper()
	pids := s.PIDs("")
	if err := s.command.Process.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("the supervisor exits with %v\n%s", err, s.Output())
		}
	case <-time.After(patience):
		_ = s.command.Process.Kill()
		s.t.Errorf("the supervisor does not stop:\n%s", s.Output())
	}
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			s.t.Errorf("process %d is left over", pid)
		}
	}
	AwaitBrokerEnd(s.t, s.Run)
}

// KillSupervisor ends the supervisor with SIGKILL and waits until no program of the site
// is left.
func (s *Site) KillSupervisor() {
	s.t.Helper()
	if err := s.command.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.ended
	s.Until("no tier runs", func() bool { return len(s.PIDs("")) == 0 })
	AwaitBrokerEnd(s.t, s.Run)
}

// PIDs returns the processes of this site's programs whose name begins with name.
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

// Kill kills a tier's process with SIGKILL and waits until its replacement serves.
func (s *Site) Kill(name string) {
	s.t.Helper()
	served := s.timesServed(name)
	pids := s.PIDs(name)
	if len(pids) == 0 {
		s.t.Fatalf("no process of %s", name)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
	s.Until(name+" serves again", func() bool { return s.timesServed(name) > served })
}

// PeakMemory returns the largest resident set so far of a tier's process, in bytes
// (VmHWM of proc(5)).
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

// timesServed counts the starts of a tier by its log.
func (s *Site) timesServed(name string) int {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Run, "logs", name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(log), "msg=serving")
}

// Until waits until condition holds; what names it when it does not in three minutes.
func (s *Site) Until(what string, condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in three minutes not: %s\n%s", what, s.Output())
		}
	}
}

// Answers reports whether a page that needs all three tiers is served.
func (s *Site) Answers() bool {
	response, err := http.Get(s.URL + "/talks")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Streams returns the number of browsers' streams open on the web tier.
func (s *Site) Streams() int { return s.gauge("live_streams") }

// LongPolls returns the number of long polls that wait on the web tier.
func (s *Site) LongPolls() int { return s.gauge("live_waiters") }

// gauge returns the value of a metric of the web tier.
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

// Scratch returns the files in the folder where recordings are processed.
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

// AwaitBrokerEnd waits until no process of the site's RabbitMQ runs. Erlang's helper
// processes exit shortly after the node.
func AwaitBrokerEnd(t *testing.T, run string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		left := BrokerProcesses(t, run)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still running: %v", left)
		}
	}
}

// BrokerProcesses returns the processes of the site's RabbitMQ and their children, by
// process id. All of them have the broker's folder as their home.
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
