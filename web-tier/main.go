// Command web-tier is the tier that browsers talk to: it turns what the logic
// tier answers into pages, and holds no rule and no state.
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

const usage = `usage: web-tier serve [flags]    answer browsers
       web-tier health [flags]   exit 0 when the web tier on this host is ready
Flags have a twin in the environment: --listen-address is LISTEN_ADDRESS.
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
		return fmt.Errorf("say what to do\n%s", usage)
	}
	settings := settings{}
	flags := flag.NewFlagSet("web-tier "+arguments[0], flag.ContinueOnError)
	if err := settings.register(flags); err != nil {
		return err
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if left := flags.Args(); len(left) > 0 {
		return fmt.Errorf("%q belongs to no flag: use --name value, and --name=false for one that is true or false", left)
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
		return fmt.Errorf("%q is nothing it can do\n%s", arguments[0], usage)
	}
}
