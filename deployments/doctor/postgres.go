package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// What is said to Postgres before a driver could: PostgreSQL manual, "Message Formats".

// requestTLS asks a Postgres for TLS (SSLRequest).
func requestTLS(conn net.Conn) error {
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := conn.Read(answer[:]); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return fmt.Errorf("a Postgres that speaks no TLS, or no Postgres (it answers %q)", answer[0])
	}
	return nil
}

// startup is how a client says who it wants to be (StartupMessage, protocol 3.0).
func startup(user, database string) []byte {
	body := []byte{0, 3, 0, 0}
	for _, word := range []string{"user", user, "database", database, ""} {
		body = append(append(body, word...), 0)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// letsIn says whether Postgres goes on with a client, also if it would ask for a
// password: that there are none is the point.
func letsIn(answer []byte) (bool, string) {
	if answer[0] != 'E' { // ErrorResponse
		return true, ""
	}
	for field := range strings.SplitSeq(string(answer[min(5, len(answer)):]), "\x00") {
		if text, found := strings.CutPrefix(field, "M"); found {
			return false, text
		}
	}
	return false, "it answers with an error"
}

// withoutTLS says whether Postgres lets in somebody whose words anybody can read.
func (s settings) withoutTLS(at string) check {
	return within(s.deadline, at+", without TLS", func(ctx context.Context) finding {
		conn, err := dial(ctx, at)
		if err != nil {
			return finding{Verdict: wrong, Found: err.Error(), Fix: "see whether that host is overloaded or cut off"}
		}
		defer conn.Close()
		in, why, err := postgresWire.greet(conn)
		switch {
		case err != nil && unanswered(err):
			return finding{Verdict: wrong, Found: "neither let in nor refused: " + err.Error(), Fix: "see whether that host is overloaded or cut off"}
		case err != nil:
			return finding{Verdict: fine, Found: "refused: " + err.Error()}
		case in:
			return finding{Verdict: wrong, Found: "let in", Fix: "have pg_hba.conf there say hostssl and not host, as data-tier/pg_hba.conf does"}
		}
		return finding{Verdict: fine, Found: "refused: " + why}
	})
}
