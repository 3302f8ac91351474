package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pipe is the baseline of file transfers: bytes over one TLS connection to a server that discards
// them and confirms the end.
type pipe struct {
	listener net.Listener
	client   *tls.Config
}

func newPipe(certificates string) (*pipe, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(certificates, "logic-tier.crt"), filepath.Join(certificates, "logic-tier.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(certificates, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return nil, err
	}
	p := &pipe{listener, &tls.Config{RootCAs: roots, ServerName: "logic-tier", MinVersion: tls.VersionTLS13}}
	go p.serve()
	return p, nil
}

func (p *pipe) serve() {
	for {
		connection, err := p.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(io.Discard, connection)
			_, _ = connection.Write([]byte{1})
		}()
	}
}

// copy sends content over a new connection and returns the duration.
func (p *pipe) copy(content []byte) (time.Duration, error) {
	connection, err := tls.Dial("tcp", p.listener.Addr().String(), p.client)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	began := time.Now()
	if _, err := connection.Write(content); err != nil {
		return 0, err
	}
	if err := connection.CloseWrite(); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
		return 0, errors.Join(errors.New("the server did not confirm the end"), err)
	}
	return time.Since(began), nil
}

func (p *pipe) close() { _ = p.listener.Close() }
