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

	"techtalks.example/logic-tier/modules/media"
)

// workerDirVariable is the environment variable that makes the test binary a worker, which
// runs a program in the given directory until it is killed.
const workerDirVariable = "TEST_RUN_FOLDER"

func runAsWorker() {
	dir := os.Getenv(workerDirVariable)
	if dir == "" {
		return
	}
	fmt.Println(media.Run(context.Background(), dir, nil, "sleep", "600"))
	os.Exit(1)
}

// programsIn returns the command lines of the processes whose working directory is dir or
// below it.
func programsIn(dir string) (commands []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands
}

func TestCommandDiesWithItsWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), workerDirVariable+"="+dir)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program to run", func() bool { return slices.Contains(programsIn(dir), "sleep 600 ") })
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	waitFor(t, "the program to die", func() bool { return len(programsIn(dir)) == 0 })
}

func TestCommandCancelKillsChildProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- media.Run(ctx, dir, nil, "sh", "-c", "sleep 601 & sleep 602") }()
	waitFor(t, "both child processes to run", func() bool {
		running := programsIn(dir)
		return slices.Contains(running, "sleep 601 ") && slices.Contains(running, "sleep 602 ")
	})
	cancel()
	if err := <-result; err == nil {
		t.Error("got no error from a cancelled command")
	}
	waitFor(t, "both child processes to die", func() bool { return len(programsIn(dir)) == 0 })
}

func TestCommandRunsUnderLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var got []string
	err := media.Run(t.Context(), dir, func(line string) { got = append(got, line) }, "sh", "-c", "ulimit -v; ulimit -f; ulimit -t; pwd; env | sed 's/=.*//' | sort | tr '\\n' ' '")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got[0] != "2097152" || got[1] != "2049" || got[2] != "14404" || got[3] != dir || strings.Contains(got[4], "POSTGRES") {
		t.Errorf("got limits, directory and environment %q", got)
	}
	if err := media.Run(t.Context(), dir, nil, "sh", "-c", "head -c 2000000 /dev/zero > file"); err == nil {
		t.Error("a program wrote a file larger than its limit")
	}
	if err := media.Run(t.Context(), dir, nil, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=3000000000 count=1"); err == nil {
		t.Error("a program allocated more memory than its limit")
	}
	if err := media.Run(t.Context(), dir, nil, "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("got error %v, want one with the program's stderr", err)
	}
}
