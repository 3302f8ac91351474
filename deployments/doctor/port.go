package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

func dial(ctx context.Context, at string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	if until, bounded := ctx.Deadline(); bounded {
		err = conn.SetDeadline(until)
	}
	return conn, err
}

// unanswered says whether an error is silence, and not a refusal.
func unanswered(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// open says whether a port that should be reached is. host is whose it is.
func open(ctx context.Context, at, host string) finding {
	conn, err := dial(ctx, at)
	switch {
	case err == nil:
		_ = conn.Close()
		return finding{Verdict: fine, Found: "is reached"}
	case unanswered(err):
		return finding{Verdict: wrong, Found: "nothing answers, not even a refusal",
			Fix: fmt.Sprintf("see whether %s is up, and have the firewalls between here and there let this port through", host)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return finding{Verdict: wrong, Found: "the host is there, and nobody listens on this port",
			Fix: fmt.Sprintf("on %s, see whether the program runs (docker compose ps) and on which address and port it is published; here, whether the port is right", host)}
	default:
		return finding{Verdict: wrong, Found: err.Error(), Fix: "see whether there is a route from here to " + host}
	}
}

// closed says whether a port is out of reach, as it should be.
func closed(ctx context.Context, a address) finding {
	if net.ParseIP(a.host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, a.host); err != nil {
			return finding{Verdict: noted, Found: "the name does not resolve here, so that the port was not tried; with an address in CLOSED it is"}
		}
	}
	conn, err := dial(ctx, a.String())
	switch {
	case err == nil:
		_ = conn.Close()
		return finding{Verdict: wrong, Found: "it is reached, and must not be",
			Fix: fmt.Sprintf("have a firewall keep this host away from it, or bind the port on %s to an address that this host has no way to (BIND)", a.host)}
	case unanswered(err):
		return finding{Verdict: fine, Found: "out of reach: nothing answers"}
	default:
		return finding{Verdict: fine, Found: "out of reach: " + err.Error()}
	}
}
