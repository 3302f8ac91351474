// Command data-tier is the tier that keeps everything: Postgres, how it runs,
// its schemas and its roles.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"techtalks.example/data-tier/cluster"
	"techtalks.example/data-tier/migration"
)

var (
	//go:embed postgresql.conf
	configuration []byte
	//go:embed pg_hba.conf
	access []byte
	//go:embed pg_ident.conf
	identities []byte
	//go:embed roles.sql
	roles string
)

const usage = `usage: data-tier serve [flags]     run Postgres, migrated, until stopped
       data-tier migrate [flags]   migrate a Postgres that serves
       data-tier health [flags]    exit 0 when the Postgres of this host lets the logic tier in
       data-tier backup [flags]    copy the data of a Postgres that serves
       data-tier restore [flags]   make a data directory from a backup
       data-tier promote [flags]   make the standby of this host the primary
Flags have a twin in the environment: --data-directory is DATA_DIRECTORY.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("tier", "data-tier")
	if err := run(ctx, os.Args[1:], log); err != nil {
		fmt.Fprintln(os.Stderr, "data-tier:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do\n%s", usage)
	}
	options := cluster.Options{Configuration: configuration, Access: access, Identities: identities}
	flags := flag.NewFlagSet("data-tier "+arguments[0], flag.ContinueOnError)
	text := func(into *string, name, twin, standard, about string) {
		flags.StringVar(into, name, cmp.Or(os.Getenv(twin), standard), about+" ("+twin+")")
	}
	text(&options.Directory, "data-directory", "DATA_DIRECTORY", "data", "where Postgres keeps its files")
	text(&options.Address, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:54320", "host:port to answer on; port 0 takes a free one")
	text(&options.Certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, data-tier.crt and data-tier.key")
	text(&options.Binaries, "binaries", "BINARIES", "", "directory with Postgres's programs, version 15 or later; found when empty")
	text(&options.Archive, "archive", "ARCHIVE", "", "serve, backup, restore: directory of the WAL archive; none when empty")
	text(&options.StandbyOf, "standby-of", "STANDBY_OF", "", "serve: host:port of the primary to follow as a hot standby; none when empty")
	text(&options.Partner, "partner", "PARTNER", "", "serve: host:port of the standby that may have been promoted in this one's place; none when empty")
	var to, from, keep, until, source string
	text(&source, "source", "SOURCE", "", "migrate: connection string of a superuser, without a database, where this program does not run the Postgres; the one of this host when empty")
	text(&to, "to", "BACKUPS", "", "backup: directory of the backups")
	text(&keep, "keep", "KEEP", "7", "backup: how many are kept, with the new one")
	text(&from, "from", "BACKUPS", "", "restore: a backup, or the directory of the backups: the newest that will do")
	text(&until, "until", "UNTIL", "", "restore: time of the last transaction to restore, as in 2006-01-02T15:04:05Z; all when empty")
	force := flags.Bool("force", false, "promote: also while the primary still sends WAL")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if left := flags.Args(); len(left) > 0 {
		return fmt.Errorf("%q belongs to no flag: use --name value, and --name=false for one that is true or false", left)
	}
	switch arguments[0] {
	case "serve":
		return serve(ctx, options, log)
	case "migrate":
		if source != "" {
			return migration.Run(ctx, source, roles, log)
		}
		return setUp(ctx, options.Directory, log)
	case "health":
		return cluster.Ready(ctx, options.Directory)
	case "backup":
		return backup(ctx, options, to, keep, log)
	case "restore":
		return restore(ctx, options, from, until, log)
	case "promote":
		return promote(ctx, options.Directory, *force)
	default:
		return fmt.Errorf("%q is nothing it can do\n%s", arguments[0], usage)
	}
}

// serve runs Postgres until ctx ends. It is set up and migrated before it
// answers on the network: whoever can connect finds the schema that they need.
func serve(ctx context.Context, options cluster.Options, log *slog.Logger) error {
	c, err := cluster.Open(ctx, options, log)
	if err != nil {
		return err
	}
	return c.Serve(ctx, func() error { return setUp(ctx, options.Directory, log) })
}

// setUp makes roles and schemas over the local socket.
func setUp(ctx context.Context, directory string, log *slog.Logger) error {
	socket, err := cluster.Socket(directory)
	if err != nil {
		return err
	}
	return migration.Run(ctx, socket, roles, log)
}
