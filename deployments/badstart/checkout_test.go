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

// buildTimeout bounds a first "make up", which compiles everything.
const buildTimeout = 10 * time.Minute

// foreignUser is a user ID without an account on this machine, which owns the checkout.
const foreignUser = 12345

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
			t.Skipf("cannot create a git checkout: git %v: %v", arguments, err)
		}
		return output
	}
	copied := filepath.Join(localtest.Folder(t), "checkout")
	git("init", "--quiet", copied)
	for name := range bytes.SplitSeq(git("-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), []byte{0}) {
		source, destination := filepath.Join(tree, string(name)), filepath.Join(copied, string(name))
		info, err := os.Stat(source)
		if err != nil || info.IsDir() { // deleted and not committed, or the end of the list
			continue
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(destination), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(destination, content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// "make up" must not depend on the developer's Go and git settings, nor on the owner of the
// checkout.
func TestMakeUpWorksWithForeignSettings(t *testing.T) {
	folder := checkout(t)
	if os.Geteuid() == 0 {
		if err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, foreignUser, foreignUser)
		}); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("not root: the checkout belongs to the current user")
	}
	p := &process{command: exec.Command("make", "-C", folder, "up"), exited: make(chan struct{})}
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
		_ = p.command.Wait() // the output describes its result
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGINT) // make and its children; they may have exited
		<-p.exited
	})
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for timeout := time.After(buildTimeout); !strings.Contains(p.output(), "TechTalks is up"); {
		select {
		case <-ticker.C:
		case <-p.exited:
			t.Fatalf("make up exited:\n%s", p.output())
		case <-timeout:
			t.Fatalf("the site did not start within %s:\n%s", buildTimeout, p.output())
		}
	}
}
