// Command logic-tier runs the logic tier, which implements every business rule of TechTalks.
// It serves gRPC, and is the only tier that connects to Postgres.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"techtalks.example/logic-tier/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("tier", "logic-tier")
	if err := app.Run(ctx, os.Args[1:], log); err != nil {
		fmt.Fprintln(os.Stderr, "logic-tier:", err)
		os.Exit(1)
	}
}
