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

const usage = `usage: talksctl import [flags] <folder | catalogue.tar.xz>

  import   brings in a catalogue in the layout of pyvideo: a folder an event,
           category.json with its title, videos/*.json, a talk each. What is
           there already stays; interrupted, run it again.

Flags, with their twins in the environment:
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

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do\n%s", usage)
	}
	flags := flag.NewFlagSet("talksctl "+arguments[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	address := flags.String("logic-address", cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"), "")
	certificates := flags.String("certificates", cmp.Or(os.Getenv("CERTIFICATES"), filepath.Join(cmp.Or(os.Getenv("RUN_DIR"), ".run"), "certificates")), "")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	credentials, err := transport.ClientCredentials(*certificates, transport.Operator, transport.LogicTier)
	if err != nil {
		return fmt.Errorf("%w: run it where the certificates are, or say with --certificates or RUN_DIR", err)
	}
	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(credentials),
		grpc.WithChainStreamInterceptor(transport.TraceStreamClient))
	if err != nil {
		return err
	}
	defer connection.Close()
	switch arguments[0] {
	case "import":
		if flags.NArg() != 1 {
			return fmt.Errorf("say which catalogue to import\n%s", usage)
		}
		return importCatalogue(ctx, connection, flags.Arg(0))
	default:
		return fmt.Errorf("%q is nothing it can do\n%s", arguments[0], usage)
	}
}
