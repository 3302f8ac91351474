// Command data-tier runs Postgres, and sets up its roles and schemas.
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
       data-tier migrate [flags]   migrate a running Postgres
       data-tier health [flags]    exit 0 if the Postgres of this host admits the logic tier
       data-tier backup [flags]    back up a running Postgres
       data-tier restore [flags]   create a data directory from a backup
       data-tier promote [flags]   make the standby of this host the primary
Each flag can be set in the environment too: --data-directory is DATA_DIRECTORY.
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
		return fmt.Errorf("no command\n%s", usage)
	}
	options := cluster.Options{Configuration: configuration, Access: access, Identities: identities}
	flags := flag.NewFlagSet("data-tier "+arguments[0], flag.ContinueOnError)
	text := func(value *string, name, variable, standard, help string) {
		flags.StringVar(value, name, cmp.Or(os.Getenv(variable), standard), help+" ("+variable+")")
	}
	text(&options.Directory, "data-directory", "DATA_DIRECTORY", "data", "data directory of Postgres")
	text(&options.Address, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:54320", "host:port to listen on; port 0 picks a free one")
	text(&options.Certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, data-tier.crt and data-tier.key")
	text(&options.Binaries, "binaries", "BINARIES", "", "directory of the Postgres programs, version 15 or later; empty: search for the newest")
	text(&options.Archive, "archive", "ARCHIVE", "", "serve, backup, restore: directory of the WAL archive; empty: no archive")
	text(&options.StandbyOf, "standby-of", "STANDBY_OF", "", "serve: host:port of the primary to follow as a hot standby; empty: serve as the primary")
	text(&options.Partner, "partner", "PARTNER", "", "serve: host:port of the standby that may have been promoted in place of this server; empty: no standby")
	var destination, backups, keep, until, source string
	text(&source, "source", "SOURCE", "", "migrate: superuser's connection string, without a database, of a Postgres that this program does not run; empty: the one on this host")
	text(&destination, "to", "BACKUPS", "", "backup: directory of the backups")
	text(&keep, "keep", "KEEP", "7", "backup: number of backups to keep, including the new one")
	text(&backups, "from", "BACKUPS", "", "restore: a backup, or the directory of the backups, of which the newest suitable one is used")
	text(&until, "until", "UNTIL", "", "restore: time of the last transaction to restore, as in 2006-01-02T15:04:05Z; empty: restore everything")
	force := flags.Bool("force", false, "promote: promote even while the primary still sends WAL")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if extra := flags.Args(); len(extra) > 0 {
		return fmt.Errorf("unexpected arguments %q: use --name value, and --name=false for boolean flags", extra)
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
		return backup(ctx, options, destination, keep, log)
	case "restore":
		return restore(ctx, options, backups, until, log)
	case "promote":
		return promote(ctx, options.Directory, *force)
	default:
		return fmt.Errorf("unknown command %q\n%s", arguments[0], usage)
	}
}

// serve runs Postgres until ctx ends. It sets up roles and schemas before it admits
// the logic tier, which therefore never sees an older schema than it needs.
func serve(ctx context.Context, options cluster.Options, log *slog.Logger) error {
	c, err := cluster.Open(ctx, options, log)
	if err != nil {
		return err
	}
	return c.Serve(ctx, func() error { return setUp(ctx, options.Directory, log) })
}

// setUp creates roles and migrates schemas over the local socket.
func setUp(ctx context.Context, directory string, log *slog.Logger) error {
	socket, err := cluster.Socket(directory)
	if err != nil {
		return err
	}
	return migration.Run(ctx, socket, roles, log)
}
