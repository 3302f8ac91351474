package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// Messages that precede a login, which drivers do not expose (PostgreSQL manual, "Message
// Formats").

// requestTLS requests TLS from Postgres (SSLRequest).
func requestTLS(conn net.Conn) error {
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	var reply [1]byte
	if _, err := conn.Read(reply[:]); err != nil {
		return err
	}
	if reply[0] != 'S' {
		return fmt.Errorf("Postgres without TLS, or another program (got reply %q)", reply[0])
	}
	return nil
}

// startup returns a StartupMessage of protocol 3.0, which names user and database.
func startup(user, database string) []byte {
	body := []byte{0, 3, 0, 0}
	for _, field := range []string{"user", user, "database", database, ""} {
		body = append(append(body, field...), 0)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// acceptsStartup reports whether Postgres accepts a client. A request for a password counts as
// accepting, since logins must use certificates only.
func acceptsStartup(reply []byte) (bool, string) {
	if reply[0] != 'E' { // ErrorResponse
		return true, ""
	}
	for field := range strings.SplitSeq(string(reply[min(5, len(reply)):]), "\x00") {
		if text, ok := strings.CutPrefix(field, "M"); ok {
			return false, text
		}
	}
	return false, "error without message"
}

// checkPlaintext checks that Postgres refuses connections without TLS.
func (s settings) checkPlaintext(address string) check {
	return withDeadline(s.deadline, address+", without TLS", func(ctx context.Context) finding {
		conn, err := dial(ctx, address)
		if err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "check whether that host is overloaded or unreachable"}
		}
		defer conn.Close()
		accepted, reason, err := postgresProtocol.greet(conn)
		switch {
		case err != nil && isTimeout(err):
			return finding{Verdict: verdictWrong, Found: "neither accepted nor refused: " + err.Error(), Fix: "check whether that host is overloaded or unreachable"}
		case err != nil:
			return finding{Verdict: verdictOK, Found: "refused: " + err.Error()}
		case accepted:
			return finding{Verdict: verdictWrong, Found: "accepted", Fix: "use hostssl instead of host in pg_hba.conf, as in data-tier/pg_hba.conf"}
		}
		return finding{Verdict: verdictOK, Found: "refused: " + reason}
	})
}
