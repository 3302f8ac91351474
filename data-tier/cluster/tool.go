package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// toolStopTimeout is how long a cancelled program has to exit before it is killed.
const toolStopTimeout = 10 * time.Second

// tool runs one of Postgres's programs as the account and returns its output. The
// error includes the output.
func (c *Cluster) tool(ctx context.Context, program string, arguments ...string) ([]byte, error) {
	output, err := pinned(c.toolCommand(ctx, program, arguments...).CombinedOutput)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", program, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", program, err, output)
	}
	return output, nil
}

// interactiveTool is like tool, but passes the program's standard error through.
func (c *Cluster) interactiveTool(ctx context.Context, program string, arguments ...string) error {
	command := c.toolCommand(ctx, program, arguments...)
	command.Stdout, command.Stderr = io.Discard, os.Stderr
	if _, err := pinned(func() ([]byte, error) { return nil, command.Run() }); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

func (c *Cluster) toolCommand(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, c.binaries.path(program), arguments...)
	command.Dir = "/"
	// The output is parsed, so it must not be translated.
	command.Env = append(os.Environ(), "LC_ALL=C")
	c.account.configure(command, syscall.SIGKILL)
	// pg_basebackup receives WAL in a second process of its group.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = toolStopTimeout
	return command
}
