// Command web-tier serves browsers. It renders the logic tier's responses as pages, and holds
// no business rules and no state.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: web-tier serve [flags]    serve browsers
       web-tier health [flags]   exit 0 if the web tier on this host is ready
Each flag has an environment variable: LISTEN_ADDRESS for --listen-address.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("tier", "web-tier")
	if err := run(ctx, os.Args[1:], log); err != nil {
		fmt.Fprintln(os.Stderr, "web-tier:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) == 0 {
		return fmt.Errorf("no command given\n%s", usage)
	}
	settings := settings{}
	flags := flag.NewFlagSet("web-tier "+arguments[0], flag.ContinueOnError)
	if err := settings.register(flags); err != nil {
		return err
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if extra := flags.Args(); len(extra) > 0 {
		return fmt.Errorf("unexpected arguments %q: use --name value, and --name=false for boolean flags", extra)
	}
	if settings.drainDelay < 0 {
		return fmt.Errorf("--drain-delay (DRAIN_DELAY) %s: use 0s or more", settings.drainDelay)
	}
	switch arguments[0] {
	case "serve":
		return serve(ctx, settings, log)
	case "health":
		return health(ctx, settings.adminAddress)
	default:
		return fmt.Errorf("unknown command %q\n%s", arguments[0], usage)
	}
}
