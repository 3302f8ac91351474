// Package broker is how RabbitMQ runs, where it keeps the queue in the place of
// Postgres: its configuration, and whether it takes connections.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// name is the program's: of its certificate, and of the files that hold it.
const name = "broker"

// Answers returns nil when the broker at address takes a TLS connection, which it
// does once everything else is ready. certificates is a folder with ca.crt,
// broker.crt and broker.key.
func Answers(ctx context.Context, address, certificates string) error {
	authority, err := os.ReadFile(filepath.Join(certificates, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return fmt.Errorf("%s holds no certificate", filepath.Join(certificates, "ca.crt"))
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(certificates, name+".crt"), filepath.Join(certificates, name+".key"))
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{own}, ServerName: name,
	}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}
