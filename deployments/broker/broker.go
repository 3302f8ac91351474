// Package broker configures RabbitMQ as the queue's engine, runs it as a process of this
// machine, and checks its health.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// name is the broker's name in its certificate, and the base name of its certificate files.
const name = "broker"

// Ping returns nil if the broker at address accepts a TLS connection. RabbitMQ opens its
// listener last, when everything else is ready. certificates is a folder with ca.crt,
// broker.crt and broker.key.
func Ping(ctx context.Context, address, certificates string) error {
	authority, err := os.ReadFile(filepath.Join(certificates, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return fmt.Errorf("%s contains no certificate", filepath.Join(certificates, "ca.crt"))
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(certificates, name+".crt"), filepath.Join(certificates, name+".key"))
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{certificate}, ServerName: name,
	}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}
