// Package app assembles the modules, the queue and the server into the logic tier's process:
// settings, databases, broker, modules, server, in this order.
package app

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
)

const usage = `usage: logic-tier serve [flags]    answer calls, and work the queues
       logic-tier work [flags]     work the queues (or some: --queues), in any
                                   number of processes
       logic-tier health [flags]   exit 0 when the logic tier on this host is ready
Flags have a twin in the environment: --listen-address is LISTEN_ADDRESS.
`

// Run executes the command line's arguments until ctx is cancelled.
func Run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do\n%s", usage)
	}
	settings := settings{}
	flags := flag.NewFlagSet("logic-tier "+arguments[0], flag.ContinueOnError)
	if err := settings.register(flags); err != nil {
		return err
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if left := flags.Args(); len(left) > 0 {
		return fmt.Errorf("%q belongs to no flag: use --name value, and --name=false for one that is true or false", left)
	}
	switch arguments[0] {
	case "serve":
		return newApp(settings, log).serve(ctx)
	case "work":
		return newApp(settings, log).work(ctx)
	case "health":
		return health(ctx, settings.adminAddress)
	default:
		return fmt.Errorf("%q is nothing it can do\n%s", arguments[0], usage)
	}
}
