// Command doctor checks a host of TechTalks from the position of that host: names, ports,
// certificates, mutual TLS, logins, versions, clocks and disks. It prints a line for each
// check, and a fix for each failed one.
//
//	doctor -from web      on a web tier's host
//	doctor -from logic    on a logic tier's or worker's host
//	doctor -from data     on a data tier's host
//	doctor -from operator where talksctl is used
//
// It changes nothing. It exits with 1 if a check fails, and with 2 on an invalid flag.
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
	ok, err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "doctor:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// run runs all checks, prints the findings and reports whether none failed.
func run(ctx context.Context, arguments []string, w io.Writer) (bool, error) {
	s := settings{}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	if err := s.register(flags); err != nil {
		return false, err
	}
	if err := flags.Parse(arguments); err != nil {
		return false, err
	}
	if flags.NArg() > 0 {
		return false, fmt.Errorf("unexpected argument %q; doctor -help lists the flags", flags.Arg(0))
	}
	checks, err := s.plan()
	if err != nil {
		return false, err
	}
	findings := runParallel(ctx, checks...)
	if s.json {
		err = printJSON(w, findings)
	} else {
		err = printText(w, findings)
	}
	return allOK(findings), err
}
