package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; the first start of a machine builds everything.
const patience = 5 * time.Minute

// running is what "make up" runs, as a process of its own.
type running struct {
	t       *testing.T
	run     string
	url     string
	admin   string
	logic   string
	data    string
	command *exec.Cmd
	ended   chan error

	mu   sync.Mutex
	said bytes.Buffer
}

var built struct {
	once    sync.Once
	program string
	err     error
}

// program builds the supervisor, once.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		folder, err := os.MkdirTemp("", "techtalks-local-")
		if err != nil {
			built.err = err
			return
		}
		built.program = filepath.Join(folder, "local")
		if output, err := exec.Command("go", "build", "-o", built.program, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.program != "" {
		_ = os.RemoveAll(filepath.Dir(built.program))
	}
	os.Exit(code)
}

// runFolder is a RUN_DIR that Postgres can get to, which is not root's.
func runFolder(t *testing.T) string {
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

// free returns an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// up starts everything and waits for the line that says where it is. settings are
// more of the environment.
func up(t *testing.T, run string, settings ...string) *running {
	t.Helper()
	r := &running{t: t, run: run, admin: free(t), logic: free(t), data: free(t), ended: make(chan error, 1)}
	r.command = exec.Command(program(t))
	r.command.Env = append(os.Environ(), "RUN_DIR="+run, "WEB_ADDRESS="+free(t), "WEB_ADMIN_ADDRESS="+r.admin,
		"LOGIC_ADDRESS="+r.logic, "LOGIC_ADMIN_ADDRESS="+free(t), "DATA_ADDRESS="+r.data)
	r.command.Env = append(r.command.Env, settings...)
	output, write := io.Pipe()
	r.command.Stdout, r.command.Stderr = write, write
	r.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.ended <- r.command.Wait()
		_ = write.Close()
	}()
	at := make(chan string, 1)
	go func() {
		where := regexp.MustCompile(`^TechTalks is up: (http://\S+)`)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			r.mu.Lock()
			r.said.WriteString(lines.Text() + "\n")
			r.mu.Unlock()
			if found := where.FindStringSubmatch(lines.Text()); found != nil {
				at <- found[1]
			}
		}
	}()
	t.Cleanup(r.stop)
	select {
	case r.url = <-at:
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("it does not start: %v\n%s", err, r.output())
	case <-time.After(patience):
		t.Fatalf("it does not start in %s:\n%s", patience, r.output())
	}
	return r
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

// stop is Ctrl-C; everything must be gone after it.
func (r *running) stop() {
	r.t.Helper()
	pids := r.pids("")
	if err := r.command.Process.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("it ends with %v\n%s", err, r.output())
		}
	case <-time.After(patience):
		_ = r.command.Process.Kill()
		r.t.Errorf("it does not stop:\n%s", r.output())
	}
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			r.t.Errorf("process %d is left over", pid)
		}
	}
	untilNoneIsLeft(r.t, r.run)
}

// pids are the processes of this site's programs.
func (r *running) pids(name string) (found []int) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, filepath.Join(r.run, "bin")+"/"+name) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			r.t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// kill kills a tier's process as a crash does, and waits until another serves.
func (r *running) kill(name string) {
	r.t.Helper()
	served := r.timesServed(name)
	pids := r.pids(name)
	if len(pids) == 0 {
		r.t.Fatalf("no process of %s", name)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			r.t.Fatal(err)
		}
	}
	r.until(name+" serves again", func() bool { return r.timesServed(name) > served })
}

// timesServed is how often a tier said that it serves, by its log.
func (r *running) timesServed(name string) int {
	r.t.Helper()
	log, err := os.ReadFile(filepath.Join(r.run, "logs", name+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Count(string(log), "msg=serving")
}

func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("it does not come: %s\n%s", what, r.output())
		}
	}
}

// answers says whether the site's pages are answered by all three tiers.
func (r *running) answers() bool {
	response, err := http.Get(r.url + "/talks")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// streams is how many streams the web tier has open.
func (r *running) streams() int {
	response, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^live_streams (\d+)$`).FindSubmatch(text)
	if found == nil {
		r.t.Fatal("the web tier's metrics do not count streams")
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// scratch is what lies where recordings are processed.
func (r *running) scratch() (files []string) {
	err := filepath.WalkDir(filepath.Join(r.run, "scratch"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}
