// Command local runs the three tiers as three processes on one machine: what
// "make up" does. It stays in the foreground; Ctrl-C stops all of it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\nTechTalks did not start:", err)
		os.Exit(1)
	}
}
