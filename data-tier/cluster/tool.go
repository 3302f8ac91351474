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

// toolStop is how long a program of Postgres has to end when it is told to.
const toolStop = 10 * time.Second

// tool runs one of Postgres's programs to its end, as the account. The error
// says what the program wrote.
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

// shownTool is tool with what the program writes going to our standard error.
func (c *Cluster) shownTool(ctx context.Context, program string, arguments ...string) error {
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
	// What they write is read by us too.
	command.Env = append(os.Environ(), "LC_ALL=C")
	c.account.become(command, syscall.SIGKILL)
	// pg_basebackup receives WAL in a second process of its group.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = toolStop
	return command
}
