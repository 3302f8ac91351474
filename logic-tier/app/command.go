package app

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
)

const usage = `Usage:
  logic-tier serve [flags]    serve gRPC calls and consume the queues
  logic-tier work [flags]     only consume the queues, or those in --queues;
                              run any number of these processes
  logic-tier health [flags]   exit 0 if the logic tier on this host is ready

Each flag can be set by an environment variable: LISTEN_ADDRESS sets
--listen-address.
`

// Run executes the command line's arguments until ctx is cancelled.
func Run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) == 0 {
		return fmt.Errorf("command required\n%s", usage)
	}
	settings := settings{}
	flags := flag.NewFlagSet("logic-tier "+arguments[0], flag.ContinueOnError)
	if err := settings.register(flags); err != nil {
		return err
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if extra := flags.Args(); len(extra) > 0 {
		return fmt.Errorf("unexpected arguments %q: use --name value, and --name=false for a boolean flag", extra)
	}
	switch arguments[0] {
	case "serve":
		return newProcess(settings, log).serve(ctx)
	case "work":
		return newProcess(settings, log).work(ctx)
	case "health":
		return health(ctx, settings.adminAddress)
	default:
		return fmt.Errorf("unknown command %q\n%s", arguments[0], usage)
	}
}
