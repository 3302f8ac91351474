package media_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"techtalks.example/logic-tier/modules/media"
)

// runFolder in the environment makes this program a worker that is to be killed.
const runFolder = "TEST_RUN_FOLDER"

func runForKilling() {
	folder := os.Getenv(runFolder)
	if folder == "" {
		return
	}
	fmt.Println(media.Run(context.Background(), folder, nil, "sleep", "600"))
	os.Exit(1)
}

// workingIn are the programs whose working folder it is.
func workingIn(folder string) (all []string) {
	where, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, w := range where {
		if in, err := os.Readlink(w); err == nil && strings.HasPrefix(in, folder) {
			said, _ := os.ReadFile(filepath.Join(filepath.Dir(w), "cmdline"))
			all = append(all, strings.ReplaceAll(string(said), "\x00", " "))
		}
	}
	return all
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %s", what, patience)
		}
	}
}

func TestAKilledWorkerTakesItsProgramsAlong(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), runFolder+"="+folder)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its program runs", func() bool { return slices.Contains(workingIn(folder), "sleep 600 ") })
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	eventually(t, "its program ends", func() bool { return len(workingIn(folder)) == 0 })
}

// A program that leaves children behind does not outlive its work.
func TestCancelKillsChildrenToo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- media.Run(ctx, folder, nil, "sh", "-c", "sleep 601 & sleep 602") }()
	eventually(t, "both run", func() bool {
		running := workingIn(folder)
		return slices.Contains(running, "sleep 601 ") && slices.Contains(running, "sleep 602 ")
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("it was told to be done")
	}
	eventually(t, "both end", func() bool { return len(workingIn(folder)) == 0 })
}

func TestProgramsRunUnderLimits(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var said []string
	err := media.Run(t.Context(), folder, func(line string) { said = append(said, line) }, "sh", "-c", "ulimit -v; ulimit -f; ulimit -t; pwd; env | sed 's/=.*//' | sort | tr '\\n' ' '")
	if err != nil {
		t.Fatal(err)
	}
	if len(said) != 5 || said[0] != "2097152" || said[1] != "2049" || said[2] != "14404" || said[3] != folder || strings.Contains(said[4], "POSTGRES") {
		t.Errorf("it says %q", said)
	}
	if err := media.Run(t.Context(), folder, nil, "sh", "-c", "head -c 2000000 /dev/zero > file"); err == nil {
		t.Error("it wrote a file larger than it may")
	}
	if err := media.Run(t.Context(), folder, nil, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=3000000000 count=1"); err == nil {
		t.Error("it took more memory than it may")
	}
	if err := media.Run(t.Context(), folder, nil, "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("a failing program's error is %v", err)
	}
}
