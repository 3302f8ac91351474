package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
)

// wire is how a neighbour speaks around TLS.
type wire struct {
	// request asks for TLS where a connection does not begin with it; nil: it does.
	request func(conn net.Conn) error
	// protocols are offered in the handshake (ALPN).
	protocols []string
	// hello is what is said first after the handshake. In TLS 1.3 a client learns whether
	// its certificate was taken when it reads what comes back.
	hello []byte
	// lets says whether what comes back lets the client in.
	lets func(answer []byte) (bool, string)
}

var (
	// grpc is HTTP/2 (RFC 9113, section 3.4): the preface, and empty settings.
	grpcWire = wire{protocols: []string{"h2"}, hello: []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), lets: anything}
	// amqp is AMQP 0-9-1 (section 4.2.2): the protocol header.
	amqpWire = wire{hello: []byte("AMQP\x00\x00\x09\x01"), lets: anything}
	// postgres is the frontend/backend protocol (PostgreSQL manual, "Message Flow").
	postgresWire = wire{request: requestTLS, hello: startup("queue", "techtalks"), lets: letsIn}
)

func anything([]byte) (bool, string) { return true, "" }

// handshake makes a TLS connection and returns the certificates that the neighbour shows.
// They are judged by the caller, who says more than "bad certificate".
func (w wire) handshake(ctx context.Context, at, name string, own []tls.Certificate) (*tls.Conn, []*x509.Certificate, error) {
	raw, err := dial(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	if w.request != nil {
		if err := w.request(raw); err != nil {
			_ = raw.Close()
			return nil, nil, err
		}
	}
	config := &tls.Config{
		ServerName: name, NextProtos: w.protocols, Certificates: own, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // nothing but greetings are sent
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, conn.ConnectionState().PeerCertificates, nil
}

// presented judges the certificate that a neighbour shows.
func (s settings) presented(w wire, own credentials, at, name string, want expected) check {
	about := at + ", its certificate"
	return func(ctx context.Context) []finding {
		ctx, done := context.WithTimeout(ctx, s.deadline)
		defer done()
		conn, chain, err := w.handshake(ctx, at, name, own.present())
		if err != nil {
			return []finding{{wrong, about, "no TLS: " + err.Error(), "see whether this is the right port, and what that program's log says"}}
		}
		_ = conn.Close()
		return judge(about, chain, own.roots, want)
	}
}

// demands says whether a neighbour lets in somebody who shows no certificate.
func (s settings) demands(w wire, at, name, program string) check {
	return within(s.deadline, at+", without a certificate", func(ctx context.Context) finding {
		conn, _, err := w.handshake(ctx, at, name, nil)
		if err != nil {
			if unanswered(err) {
				return finding{Verdict: wrong, Found: "not an answer: " + err.Error(), Fix: "see whether that host is overloaded or cut off"}
			}
			return finding{Verdict: fine, Found: "refused: " + err.Error()}
		}
		defer conn.Close()
		in, why, err := w.greet(conn)
		switch {
		case err != nil && unanswered(err):
			return finding{Verdict: wrong, Found: "neither let in nor refused: " + err.Error(), Fix: "see whether that host is overloaded or cut off"}
		case err != nil:
			return finding{Verdict: fine, Found: "refused: " + err.Error()}
		case in:
			return finding{Verdict: wrong, Found: "let in: anybody who reaches this port is", Fix: "have " + program + " there ask for certificates, as this repository's does; see what really listens there"}
		}
		return finding{Verdict: fine, Found: "refused: " + why}
	})
}

// greet says the first words and hears whether they are welcome.
func (w wire) greet(conn net.Conn) (in bool, why string, err error) {
	if _, err := conn.Write(w.hello); err != nil {
		return false, "", err
	}
	answer := make([]byte, 1024)
	n, err := conn.Read(answer)
	if err == io.EOF {
		return false, "", fmt.Errorf("it hangs up")
	}
	if err != nil {
		return false, "", err
	}
	in, why = w.lets(answer[:n])
	return in, why, nil
}
