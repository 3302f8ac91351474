// Command local runs the three tiers as separate processes on one machine, for "make up".
// It runs in the foreground and stops all processes on Ctrl-C.
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
