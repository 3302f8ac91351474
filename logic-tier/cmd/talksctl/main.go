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

const usage = `usage: talksctl import [flags] <folder | archive>
       talksctl operations [flags]
       talksctl watch [flags] operations/<id>
       talksctl cancel [flags] operations/<id>
       talksctl queue [what] [flags]

  import      brings in a catalogue in the layout of pyvideo: a folder an event,
              category.json with its title, videos/*.json, a talk each. It is a
              folder, or an archive of one (.tar, .tar.gz, .tar.xz, .zip). What is
              there already stays; interrupted, run it again. Once the catalogue
              is sent, the import goes on by itself; Ctrl-C only looks away.
  operations  lists the latest operations
  watch       follows one to its end
  cancel      stops one
  queue       shows the message queue and mends it: "talksctl queue help"

Flags, with their twins in the environment:
  --detach          import: print the operation's name, and do not follow it
  --logic-address   host:port of the logic tier (LOGIC_ADDRESS)
  --certificates    directory with ca.crt, operator.crt, operator.key
                    (CERTIFICATES; else RUN_DIR/certificates)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "talksctl:", err)
		os.Exit(1)
	}
}

// command is something talksctl can do, with the argument that it needs.
type command struct {
	needs string // what to say when there is none; empty: it needs none
	do    func(ctx context.Context, c *client, argument string) error
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do\n%s", usage)
	}
	if arguments[0] == "queue" {
		return runQueue(ctx, arguments[1:], os.Stdout)
	}
	flags := flag.NewFlagSet("talksctl "+arguments[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	to := addressFlags(flags)
	detach := flags.Bool("detach", false, "")
	asked, known := map[string]command{
		"import": {"say which catalogue to import", func(ctx context.Context, c *client, name string) error {
			return importCatalogue(ctx, c, name, *detach)
		}},
		"operations": {"", func(ctx context.Context, c *client, _ string) error { return listOperations(ctx, c) }},
		"watch":      {"say which operation to watch", watch},
		"cancel":     {"say which operation to cancel", cancelOperation},
	}[arguments[0]]
	if !known {
		return fmt.Errorf("%q is nothing it can do\n%s", arguments[0], usage)
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if (asked.needs == "") != (flags.NArg() == 0) || flags.NArg() > 1 {
		return fmt.Errorf("%s\n%s", cmp.Or(asked.needs, "it needs no more words"), usage)
	}
	connection, err := to.connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	return asked.do(ctx, newClient(connection), flags.Arg(0))
}

// target is where the logic tier is, and who the operator is.
type target struct{ address, certificates *string }

func addressFlags(flags *flag.FlagSet) target {
	return target{
		address:      flags.String("logic-address", cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"), ""),
		certificates: flags.String("certificates", cmp.Or(os.Getenv("CERTIFICATES"), filepath.Join(cmp.Or(os.Getenv("RUN_DIR"), ".run"), "certificates")), ""),
	}
}

func (t target) connect() (*grpc.ClientConn, error) {
	credentials, err := transport.ClientCredentials(*t.certificates, transport.Operator, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: run it where the certificates are, or say with --certificates or RUN_DIR", err)
	}
	return grpc.NewClient(*t.address, grpc.WithTransportCredentials(credentials),
		grpc.WithChainStreamInterceptor(transport.TraceStreamClient))
}
