// Command doctor says whether a host of TechTalks can do its work from where it stands:
// names, ports, certificates, mutual TLS, logins, versions, clocks, disks. It prints a
// line for each thing it looked at, and under what is wrong, how to mend it.
//
//	doctor -from web      on a web tier's host
//	doctor -from logic    on a logic tier's or worker's host
//	doctor -from data     on a data tier's host
//	doctor -from operator where talksctl is used
//
// It changes nothing. It exits with 1 when anything is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	well, err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "doctor:", err)
		os.Exit(2)
	case !well:
		os.Exit(1)
	}
}

// run looks at everything and says whether all is well.
func run(ctx context.Context, arguments []string, to io.Writer) (bool, error) {
	s := settings{}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	if err := s.register(flags); err != nil {
		return false, err
	}
	if err := flags.Parse(arguments); err != nil {
		return false, err
	}
	if flags.NArg() > 0 {
		return false, fmt.Errorf("%q is no flag; doctor -help lists them", flags.Arg(0))
	}
	checks, err := s.standpoint()
	if err != nil {
		return false, err
	}
	found := sideBySide(ctx, checks...)
	if s.json {
		err = printJSON(to, found)
	} else {
		err = printText(to, found)
	}
	return well(found), err
}
