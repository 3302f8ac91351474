// Package badstart contains tests of the messages that the tiers print when they start with a
// wrong setting: each names the setting, its value and the fix.
package badstart

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/source"
)

// maxWait bounds every wait of these tests, far above the expected time.
const maxWait = 3 * time.Minute

// folder contains the programs and folders of certificates. Postgres, which does not run as
// root, can read it.
var folder string

// in returns the path of a file in folder.
func in(name string) string { return filepath.Join(folder, name) }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "techtalks-badstart-"); err == nil {
			defer os.RemoveAll(folder)
			err = prepare()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func prepare() error {
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	tree, err := source.Tree()
	if err != nil {
		return err
	}
	if err := source.Build(context.Background(), tree, folder, source.DataTier, source.LogicTier, source.WebTier); err != nil {
		return err
	}
	for name, lifetime := range map[string]time.Duration{"good": 24 * time.Hour, "foreign": 24 * time.Hour, "expired": -time.Minute} {
		if _, err := certificates.IssueFor(lifetime, in(name), nil); err != nil {
			return err
		}
	}
	// Each folder is valid except for one file.
	for name, files := range map[string]map[string]string{
		"no-key":       {"ca.crt": "good/ca.crt", "TIER.crt": "good/TIER.crt"},
		"other-key":    {"ca.crt": "good/ca.crt", "TIER.crt": "good/TIER.crt", "TIER.key": "good/operator.key"},
		"other-name":   {"ca.crt": "good/ca.crt", "TIER.crt": "good/operator.crt", "TIER.key": "good/operator.key"},
		"of-foreign":   {"ca.crt": "good/ca.crt", "TIER.crt": "foreign/TIER.crt", "TIER.key": "foreign/TIER.key"},
		"no-authority": {"ca.crt": "good/TIER.key", "TIER.crt": "good/TIER.crt", "TIER.key": "good/TIER.key"},
	} {
		if err := os.Mkdir(in(name), 0o755); err != nil {
			return err
		}
		for _, tier := range []string{"data-tier", "logic-tier", "web-tier"} {
			for file, original := range files {
				content, err := os.ReadFile(in(strings.ReplaceAll(original, "TIER", tier)))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(in(name), strings.ReplaceAll(file, "TIER", tier)), content, 0o600); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var setting = regexp.MustCompile(`^[A-Z_]+=`)

// process is a running program of a tier.
type process struct {
	command *exec.Cmd
	exited  chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

// Write records output of the process.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(text)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// start runs a tier until the test finishes. settings are separated by spaces: NAME=value is an
// environment variable, anything else an argument. All other settings are valid, but no
// neighbour runs.
func start(t *testing.T, tier, settings string) *process {
	t.Helper()
	p := &process{command: exec.Command(in(tier), "serve"), exited: make(chan struct{})}
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "LISTEN_ADDRESS=127.0.0.1:0", "ADMIN_ADDRESS=127.0.0.1:0", "CERTIFICATES=" + in("good")}
	for word := range strings.FieldsSeq(settings) {
		if setting.MatchString(word) {
			p.command.Env = append(p.command.Env, word)
		} else {
			p.command.Args = append(p.command.Args, word)
		}
	}
	var err error
	if p.command.Dir, err = os.MkdirTemp(folder, "run-"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.command.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.command.Stdout, p.command.Stderr = p, p
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // its result is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Signal(syscall.SIGTERM) // it may have exited
		p.awaitExit(t)
		if output := p.output(); strings.Contains(output, "panic") || strings.Contains(output, "goroutine") {
			t.Errorf("the output contains a stack trace:\n%s", output)
		}
	})
	return p
}

func (p *process) awaitExit(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(maxWait):
		_ = p.command.Process.Kill()
		t.Errorf("the process did not exit:\n%s", p.output())
	}
}

// awaitOutput waits until the output contains each text at least count times.
func (p *process) awaitOutput(t *testing.T, count int, texts ...string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for timeout := time.After(maxWait); ; {
		missing := firstMissing(p.output(), count, texts)
		if missing == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			if missing = firstMissing(p.output(), count, texts); missing != "" {
				t.Fatalf("the process exited; its output lacks %q (want %d times):\n%s", missing, count, p.output())
			}
			return
		case <-timeout:
			t.Fatalf("the output lacks %q (want %d times):\n%s", missing, count, p.output())
		}
	}
}

// firstMissing returns the first of the texts that occurs less than count times in output, or
// an empty string.
func firstMissing(output string, count int, texts []string) string {
	for _, text := range texts {
		if strings.Count(output, text) < count {
			return text
		}
	}
	return ""
}

// unusedAddress returns an address that no program listens on.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	defer listener.Close()
	return listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}
