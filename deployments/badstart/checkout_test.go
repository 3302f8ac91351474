package badstart

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
	"techtalks.example/deployments/source"
)

// buildPatience bounds a first "make up", which compiles everything.
const buildPatience = 10 * time.Minute

// stranger owns the checkout, and no account of this machine.
const stranger = 12345

// checkout returns a copy of the source tree in a git repository of its own.
func checkout(t *testing.T) string {
	t.Helper()
	tree, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	git := func(arguments ...string) []byte {
		output, err := exec.Command("git", append([]string{"-c", "safe.directory=*"}, arguments...)...).Output()
		if err != nil {
			t.Skipf("no git checkout can be made here: git %v: %v", arguments, err)
		}
		return output
	}
	copied := filepath.Join(localtest.Folder(t), "checkout")
	git("init", "--quiet", copied)
	for name := range bytes.SplitSeq(git("-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), []byte{0}) {
		from, to := filepath.Join(tree, string(name)), filepath.Join(copied, string(name))
		info, err := os.Stat(from)
		if err != nil || info.IsDir() { // deleted and not committed, or the end of the list
			continue
		}
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// What "go env -w" set on the machine of a developer hides what others meet.
func TestMakeUpWorksWithForeignSettings(t *testing.T) {
	folder := checkout(t)
	if os.Geteuid() == 0 {
		if err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, stranger, stranger)
		}); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("not root: the checkout cannot belong to another user")
	}
	p := &process{command: exec.Command("make", "-C", folder, "up"), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=-mod=vendor", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "RUN_DIR="+localtest.Folder(t))
	for _, name := range []string{"WEB_ADDRESS", "WEB_ADMIN_ADDRESS", "LOGIC_ADDRESS", "LOGIC_ADMIN_ADDRESS", "DATA_ADDRESS"} {
		p.command.Env = append(p.command.Env, fmt.Sprintf("%s=%s", name, localtest.FreeAddress(t)))
	}
	p.command.Stdout, p.command.Stderr = p, p
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // how it ended is in its output
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGINT) // make and what it runs; they may have ended
		<-p.ended
	})
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for late := time.After(buildPatience); !strings.Contains(p.output(), "TechTalks is up"); {
		select {
		case <-look.C:
		case <-p.ended:
			t.Fatalf("make up ended:\n%s", p.output())
		case <-late:
			t.Fatalf("make up does not bring the site up:\n%s", p.output())
		}
	}
}
