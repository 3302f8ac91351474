package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
)

// protocol is how a server's protocol starts TLS and authenticates clients.
type protocol struct {
	// startTLS requests TLS on a plain connection; nil if connections start with TLS.
	startTLS func(conn net.Conn) error
	// alpn is the protocols offered in the handshake.
	alpn []string
	// hello is the first message after the handshake. In TLS 1.3 a client learns only from the
	// reply whether the server has accepted its certificate.
	hello []byte
	// accepts reports whether a reply accepts the client, and if not, the reason.
	accepts func(reply []byte) (ok bool, reason string)
}

var (
	// grpcProtocol is HTTP/2 (RFC 9113, section 3.4): the preface, and empty settings.
	grpcProtocol = protocol{alpn: []string{"h2"}, hello: []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), accepts: acceptsAny}
	// amqpProtocol is AMQP 0-9-1 (section 4.2.2): the protocol header.
	amqpProtocol = protocol{hello: []byte("AMQP\x00\x00\x09\x01"), accepts: acceptsAny}
	// postgresProtocol is the frontend/backend protocol (PostgreSQL manual, "Message Flow").
	postgresProtocol = protocol{startTLS: requestTLS, hello: startup("queue", "techtalks"), accepts: acceptsStartup}
)

func acceptsAny([]byte) (bool, string) { return true, "" }

// handshake opens a TLS connection and returns the server's certificates. It does not verify
// them: the caller reports more detail than "bad certificate".
func (p protocol) handshake(ctx context.Context, address, name string, certificates []tls.Certificate) (*tls.Conn, []*x509.Certificate, error) {
	raw, err := dial(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	if p.startTLS != nil {
		if err := p.startTLS(raw); err != nil {
			_ = raw.Close()
			return nil, nil, err
		}
	}
	config := &tls.Config{
		ServerName: name, NextProtos: p.alpn, Certificates: certificates, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // the caller verifies; only a greeting is sent
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, conn.ConnectionState().PeerCertificates, nil
}

// checkServerCertificate checks the certificate of a server.
func (s settings) checkServerCertificate(p protocol, creds credentials, address, name string, want expectation) check {
	about := address + ", certificate"
	return func(ctx context.Context) []finding {
		ctx, done := context.WithTimeout(ctx, s.deadline)
		defer done()
		conn, chain, err := p.handshake(ctx, address, name, creds.clientCertificates())
		if err != nil {
			return []finding{{verdictWrong, about, "TLS handshake failed: " + err.Error(), "check that this is the right port; see the server's log"}}
		}
		_ = conn.Close()
		return checkCertificate(about, chain, creds.roots, want)
	}
}

// checkClientAuth checks that a server refuses clients without a certificate.
func (s settings) checkClientAuth(p protocol, address, name, program string) check {
	return withDeadline(s.deadline, address+", without a certificate", func(ctx context.Context) finding {
		conn, _, err := p.handshake(ctx, address, name, nil)
		if err != nil {
			if isTimeout(err) {
				return finding{Verdict: verdictWrong, Found: "no answer: " + err.Error(), Fix: "check whether that host is overloaded or unreachable"}
			}
			return finding{Verdict: verdictOK, Found: "refused: " + err.Error()}
		}
		defer conn.Close()
		accepted, reason, err := p.greet(conn)
		switch {
		case err != nil && isTimeout(err):
			return finding{Verdict: verdictWrong, Found: "neither accepted nor refused: " + err.Error(), Fix: "check whether that host is overloaded or unreachable"}
		case err != nil:
			return finding{Verdict: verdictOK, Found: "refused: " + err.Error()}
		case accepted:
			return finding{Verdict: verdictWrong, Found: "accepted: the server does not require a client certificate", Fix: "check that the process on this port is this repository's " + program + ", which requires one"}
		}
		return finding{Verdict: verdictOK, Found: "refused: " + reason}
	})
}

// greet sends the protocol's first message and reports whether the server accepts the client,
// and if not, the reason.
func (p protocol) greet(conn net.Conn) (accepted bool, reason string, err error) {
	if _, err := conn.Write(p.hello); err != nil {
		return false, "", err
	}
	reply := make([]byte, 1024)
	n, err := conn.Read(reply)
	if err == io.EOF {
		return false, "", errors.New("the server closed the connection")
	}
	if err != nil {
		return false, "", err
	}
	accepted, reason = p.accepts(reply[:n])
	return accepted, reason, nil
}
