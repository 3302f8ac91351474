package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// dial connects to an address; the connection has the deadline of ctx.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

// isTimeout reports whether an error is a missing answer rather than a refusal.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// checkOpen checks that a port of a host is reachable.
func checkOpen(ctx context.Context, address, host string) finding {
	conn, err := dial(ctx, address)
	switch {
	case err == nil:
		_ = conn.Close()
		return finding{Verdict: verdictOK, Found: "reachable"}
	case isTimeout(err):
		return finding{Verdict: verdictWrong, Found: "no answer",
			Fix: fmt.Sprintf("check that %s is running and that firewalls between the hosts allow this port", host)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return finding{Verdict: verdictWrong, Found: "connection refused: no process listens on this port",
			Fix: fmt.Sprintf("on %s, check that the program runs (docker compose ps) and on which address and port it is published; on this host, check the port in the setting", host)}
	default:
		return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "check the route from this host to " + host}
	}
}

// checkClosed checks that a port is unreachable.
func checkClosed(ctx context.Context, a address) finding {
	if net.ParseIP(a.host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, a.host); err != nil {
			return finding{Verdict: verdictNote, Found: "not tried: the name does not resolve on this host; use an IP address in CLOSED"}
		}
	}
	conn, err := dial(ctx, a.String())
	switch {
	case err == nil:
		_ = conn.Close()
		return finding{Verdict: verdictWrong, Found: "reachable, but must not be",
			Fix: fmt.Sprintf("block it with a firewall, or bind the port on %s to an address that this host cannot reach (BIND)", a.host)}
	case isTimeout(err):
		return finding{Verdict: verdictOK, Found: "unreachable: no answer"}
	default:
		return finding{Verdict: verdictOK, Found: "unreachable: " + err.Error()}
	}
}
