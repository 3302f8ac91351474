// Package badstart is tested for what the programs of the tiers say when they are started
// with something wrong: which setting, what they saw, and what to do.
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

// patience bounds every wait of these tests; none is expected to take it.
const patience = 3 * time.Minute

// folder holds the programs, and folders of certificates; Postgres, which is not root, may enter it.
var folder string

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
	for name, life := range map[string]time.Duration{"good": 24 * time.Hour, "foreign": 24 * time.Hour, "expired": -time.Minute} {
		if _, err := certificates.IssueFor(life, in(name), nil); err != nil {
			return err
		}
	}
	// Each is good but for one thing.
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
			for to, from := range files {
				content, err := os.ReadFile(in(strings.ReplaceAll(from, "TIER", tier)))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(in(name), strings.ReplaceAll(to, "TIER", tier)), content, 0o600); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var setting = regexp.MustCompile(`^[A-Z_]+=`)

// process is a program of a tier that runs.
type process struct {
	command *exec.Cmd
	ended   chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what the process says.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(text)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// start runs a tier until the test ends. told is as in a shell: NAME=value is set in the
// environment, the rest are flags. What is not told is good, but for the neighbours.
func start(t *testing.T, tier, told string) *process {
	t.Helper()
	p := &process{command: exec.Command(in(tier), "serve"), ended: make(chan struct{})}
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "LISTEN_ADDRESS=127.0.0.1:0", "ADMIN_ADDRESS=127.0.0.1:0", "CERTIFICATES=" + in("good")}
	for word := range strings.FieldsSeq(told) {
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
		_ = p.command.Wait() // how it ended is in its ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
		p.awaitEnd(t)
		if said := p.output(); strings.Contains(said, "panic") || strings.Contains(said, "goroutine") {
			t.Errorf("it shows a stack:\n%s", said)
		}
	})
	return p
}

func (p *process) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		t.Errorf("it does not end:\n%s", p.output())
	}
}

// awaitSaid waits until the process said all of it, each so many times.
func (p *process) awaitSaid(t *testing.T, times int, all ...string) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); ; {
		missing := lacks(p.output(), times, all)
		if missing == "" {
			return
		}
		select {
		case <-look.C:
		case <-p.ended:
			if missing = lacks(p.output(), times, all); missing != "" {
				t.Fatalf("it ended, and did not say %q %d times:\n%s", missing, times, p.output())
			}
			return
		case <-late:
			t.Fatalf("it does not say %q %d times:\n%s", missing, times, p.output())
		}
	}
}

// lacks returns what is not so many times in a text; nothing when all is.
func lacks(text string, times int, all []string) string {
	for _, one := range all {
		if strings.Count(text, one) < times {
			return one
		}
	}
	return ""
}

// unused returns an address that nobody listens on.
func unused(t *testing.T) string {
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
