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

// Limits of a program that reads untrusted files.
const (
	// memoryLimit bounds the address space, in KiB: enough for the frames of the largest
	// accepted picture, far less than the memory of a host.
	memoryLimit = 2 << 20
	// stderrLimit bounds the tail of stderr that is kept, in bytes.
	stderrLimit = 4 << 10
	// lineLimit bounds a line of stdout and stdoutLimit all of it, in bytes.
	lineLimit   = 64 << 10
	stdoutLimit = 4 << 20
	// waitDelay is how long stdout and stderr can stay open after the program was killed.
	waitDelay = time.Second
	// maxCPUs is how many CPUs the program can keep busy on average before its CPU time runs
	// out.
	maxCPUs = 4
	// niceness gives requests precedence over the program on a busy CPU.
	niceness = 10
)

// limitScript runs the program in its arguments under limits that the program cannot lift:
// memory (KiB), size of a file written (blocks of 512 bytes) and CPU time (seconds).
const limitScript = `ulimit -v "$1"; ulimit -f "$2"; ulimit -t "$3"; shift 3; exec "$@"`

// command is an invocation of ffmpeg or ffprobe.
type command struct {
	program   string
	arguments []string
	// dir is the working directory. The program names its files relative to it.
	dir string
	// timeout bounds the run in wall-clock time.
	timeout time.Duration
	// maxFileSize bounds each file that the program writes, in bytes.
	maxFileSize int64
}

// commandError reports that a program was started and failed.
type commandError struct {
	program string
	cause   error
	stderr  string
}

func (e *commandError) Error() string { return fmt.Sprintf("%s: %v: %s", e.program, e.cause, e.stderr) }
func (e *commandError) Unwrap() error { return e.cause }

// run runs the command, calls onLine with each line of stdout, and returns the tail of
// stderr. When ctx ends, run kills the program with all its child processes; the kernel
// kills the program when this process dies.
func (c command) run(ctx context.Context, onLine func(line string)) (stderr string, err error) {
	limited, done := context.WithTimeout(ctx, c.timeout)
	defer done()
	limits := []string{"-c", limitScript, "sh", fmt.Sprint(memoryLimit), fmt.Sprint(c.maxFileSize/512 + 1), fmt.Sprint(maxCPUs * int(c.timeout.Seconds()+1)), c.program}
	cmd := exec.CommandContext(limited, "/bin/sh", append(limits, c.arguments...)...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C", "AV_LOG_FORCE_NOCOLOR=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	errOutput := &tail{}
	cmd.Stderr = errOutput
	stdout, write := io.Pipe()
	cmd.Stdout = write
	exited := make(chan error, 1)
	go func() {
		// Pdeathsig fires when the thread that started the program exits, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err != nil {
			err = startError{err}
		} else {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, niceness)
			err = cmd.Wait()
		}
		_ = write.Close()
		exited <- err
	}()
	readLines(stdout, onLine)
	err = <-exited
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil:
		return errOutput.String(), nil
	case errors.As(err, &startError{}):
		return "", err
	case limited.Err() != nil:
		err = fmt.Errorf("timed out after %s", c.timeout)
	}
	return errOutput.String(), &commandError{c.program, err, errOutput.String()}
}

// readLines calls onLine for each line until the end. After a line that is too long, or
// stdoutLimit bytes, it discards the rest, so that the writer never blocks.
func readLines(r *io.PipeReader, onLine func(string)) {
	lines := bufio.NewScanner(io.LimitReader(r, stdoutLimit))
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		if onLine != nil {
			onLine(lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// startError reports that the system could not start a program, for lack of resources.
type startError struct{ error }

// isCommandError reports whether a program failed, not the system that it runs on.
func isCommandError(err error) bool {
	var e *commandError
	return errors.As(err, &e)
}

// rejectedInput reports whether a program exited with an error of its own accord, so that
// its input is to blame. A program that was killed may succeed in another run.
func rejectedInput(err error) bool {
	var exit *exec.ExitError
	return isCommandError(err) && errors.As(err, &exit) && exit.Exited() && exit.ExitCode() < shellExitCodes
}

// shellExitCodes is the first of the exit codes with which the shell reports that it could
// not run the program.
const shellExitCodes = 126

// tail is a writer that keeps the last stderrLimit bytes.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if excess := len(t.buf) - stderrLimit; excess > 0 {
		t.buf = bytes.Clone(t.buf[excess:])
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.buf), "?")) }
