// Command talksctl is the operator's command line.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"

	"techtalks.example/proto/transport"
)

const usage = `Import talks, follow operations and manage the message queue.

Usage:
  talksctl import [flags] FOLDER|ARCHIVE
  talksctl operations [flags]
  talksctl watch [flags] operations/ID
  talksctl cancel [flags] operations/ID
  talksctl queue [COMMAND] [flags]

Commands:
  import      Import a catalogue in the layout of pyvideo, as a folder or an
              archive (.tar, .tar.gz, .tar.xz, .zip): one folder per event with
              category.json (its title) and videos/*.json (one file per talk).
              Existing talks stay unchanged, so an interrupted import can be
              repeated. After the upload the import runs on the server; Ctrl-C
              only stops following it.
  operations  List the latest operations
  watch       Follow an operation until it is done
  cancel      Cancel an operation
  queue       Show and repair the message queue; see "talksctl queue help"

Flags (environment variables in parentheses):
  --detach          import: print the operation's name and exit
  --logic-address   host:port of the logic tier (LOGIC_ADDRESS)
  --certificates    directory with ca.crt, operator.crt and operator.key
                    (CERTIFICATES; default RUN_DIR/certificates)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "talksctl:", err)
		os.Exit(1)
	}
}

// command is a command of talksctl.
type command struct {
	missingArg string // error without the required argument; "" if the command takes none
	run        func(ctx context.Context, c *client, argument string) error
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("command required\n%s", usage)
	}
	if arguments[0] == "queue" {
		return runQueue(ctx, arguments[1:], os.Stdout)
	}
	flags := flag.NewFlagSet("talksctl "+arguments[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	endpoint := endpointFlags(flags)
	detach := flags.Bool("detach", false, "")
	cmd, ok := map[string]command{
		"import": {"catalogue required: name a folder or an archive", func(ctx context.Context, c *client, name string) error {
			return importCatalogue(ctx, c, name, *detach)
		}},
		"operations": {"", func(ctx context.Context, c *client, _ string) error { return listOperations(ctx, c) }},
		"watch":      {"operation required: name one that \"talksctl operations\" lists", watch},
		"cancel":     {"operation required: name one that \"talksctl operations\" lists", cancelOperation},
	}[arguments[0]]
	if !ok {
		return fmt.Errorf("unknown command %q\n%s", arguments[0], usage)
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if (cmd.missingArg == "") != (flags.NArg() == 0) || flags.NArg() > 1 {
		if flags.NArg() > 0 {
			return fmt.Errorf("too many arguments: %q\n%s", flags.Args(), usage)
		}
		return fmt.Errorf("%s\n%s", cmd.missingArg, usage)
	}
	connection, err := endpoint.connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	return cmd.run(ctx, newClient(connection), flags.Arg(0))
}

// endpoint holds the flags for connecting to the logic tier.
type endpoint struct{ address, certificates *string }

func endpointFlags(flags *flag.FlagSet) endpoint {
	return endpoint{
		address:      flags.String("logic-address", cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"), ""),
		certificates: flags.String("certificates", cmp.Or(os.Getenv("CERTIFICATES"), filepath.Join(cmp.Or(os.Getenv("RUN_DIR"), ".run"), "certificates")), ""),
	}
}

func (e endpoint) connect() (*grpc.ClientConn, error) {
	credentials, err := transport.ClientCredentials(*e.certificates, transport.Operator, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: set --certificates to the directory of the operator's certificate, or RUN_DIR to its parent", err)
	}
	return grpc.NewClient(*e.address, grpc.WithTransportCredentials(credentials),
		grpc.WithChainStreamInterceptor(transport.TraceStreamClient))
}
