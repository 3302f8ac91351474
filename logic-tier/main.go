// Command logic-tier is the tier that holds every business rule of TechTalks,
// behind gRPC, and the only one that talks to Postgres.
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
