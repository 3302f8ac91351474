package media

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// What a program may use that reads a file which somebody sent.
const (
	// memoryLimit is its address space, in KiB: enough for frames of the largest
	// picture that is taken, far less than a host has.
	memoryLimit = 2 << 20
	// saidLimit bounds what is kept of its complaints, the last of them.
	saidLimit = 4 << 10
	// lineLimit bounds a line of its answer, and answerLimit all of one.
	lineLimit   = 64 << 10
	answerLimit = 4 << 20
	// killPatience is how long its output may stay open after it was killed.
	killPatience = time.Second
	// processors is how many of them it keeps busy at most.
	processors = 4
	// niceness lets calls go first on cores that both want.
	niceness = 10
)

// bounded runs the program that follows, under limits that it cannot lift: of
// memory (KiB), of the size of a file that it writes (blocks of 512 bytes), and
// of time on the processors (seconds).
const bounded = `ulimit -v "$1"; ulimit -f "$2"; ulimit -t "$3"; shift 3; exec "$@"`

// command is a run of ffmpeg or ffprobe.
type command struct {
	program   string
	arguments []string
	// folder is where it works; it reads and writes by names in it.
	folder string
	// timeout bounds its time by the clock.
	timeout time.Duration
	// output bounds a file that it writes, in bytes.
	output int64
}

// errFailed is that a program did not do what it was to do.
type errFailed struct {
	program string
	cause   error
	said    string
}

func (e *errFailed) Error() string { return fmt.Sprintf("%s: %v: %s", e.program, e.cause, e.said) }
func (e *errFailed) Unwrap() error { return e.cause }

// run runs the command, gives heed each line that it answers, and returns what it
// complained of. It ends with ctx, and all that it started with it; it also ends
// with this process.
func (c command) run(ctx context.Context, heed func(line string)) (said string, err error) {
	limited, done := context.WithTimeout(ctx, c.timeout)
	defer done()
	limits := []string{"-c", bounded, "sh", fmt.Sprint(memoryLimit), fmt.Sprint(c.output/512 + 1), fmt.Sprint(processors * int(c.timeout.Seconds()+1)), c.program}
	run := exec.CommandContext(limited, "/bin/sh", append(limits, c.arguments...)...)
	run.Dir = c.folder
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.folder, "LC_ALL=C", "AV_LOG_FORCE_NOCOLOR=1"}
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }
	run.WaitDelay = killPatience
	complaints := &tail{}
	run.Stderr = complaints
	answer, write := io.Pipe()
	run.Stdout = write
	ended := make(chan error, 1)
	go func() {
		// The kernel ends a process when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := run.Start()
		if err != nil {
			err = errNotStarted{err}
		} else {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, run.Process.Pid, niceness)
			err = run.Wait()
		}
		_ = write.Close()
		ended <- err
	}()
	readLines(answer, heed)
	err = <-ended
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil:
		return complaints.String(), nil
	case errors.As(err, &errNotStarted{}):
		return "", err
	case limited.Err() != nil:
		err = fmt.Errorf("not done in %s", c.timeout)
	}
	return complaints.String(), &errFailed{c.program, err, complaints.String()}
}

// readLines calls heed for lines until the end; lines too long, and what comes
// after them, are read and passed over, so that the writer is not held up.
func readLines(r *io.PipeReader, heed func(string)) {
	lines := bufio.NewScanner(io.LimitReader(r, answerLimit))
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		if heed != nil {
			heed(lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// errNotStarted is that there was no room for a program just now.
type errNotStarted struct{ error }

// failed says whether err is a program's, and not of what is round it.
func failed(err error) bool {
	var f *errFailed
	return errors.As(err, &f)
}

// gaveUp says whether a program ended by itself, with an error: what it was given
// is at fault. One that was killed may do better another time.
func gaveUp(err error) bool {
	var exit *exec.ExitError
	return failed(err) && errors.As(err, &exit) && exit.Exited() && exit.ExitCode() < notFound
}

// notFound is from where on the shell's exit codes say that it could not run the
// program.
const notFound = 126

// tail keeps the end of what is written.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - saidLimit; over > 0 {
		t.kept = bytes.Clone(t.kept[over:])
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?")) }
