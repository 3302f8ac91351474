package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// ServerCredentials returns the credentials of a server that authenticates as name and
// accepts only clients with a certificate of the same authority. It reads ca.crt,
// <name>.crt and <name>.key from directory, and reloads them before a handshake when one of
// them has changed.
func ServerCredentials(directory, name string) (credentials.TransportCredentials, error) {
	return load(directory, name, func(certificate tls.Certificate, authority *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:       tls.VersionTLS13,
			Certificates:     []tls.Certificate{certificate},
			ClientAuth:       tls.RequireAndVerifyClientCert,
			ClientCAs:        authority,
			VerifyConnection: func(state tls.ConnectionState) error { _, err := program(state.PeerCertificates[0]); return err },
		}
	})
}

// ClientCredentials returns the credentials of a client that authenticates as name and
// connects only to the program server, whatever the address. It reads and reloads the same
// files as ServerCredentials.
func ClientCredentials(directory, name, server string) (credentials.TransportCredentials, error) {
	return load(directory, name, func(certificate tls.Certificate, authority *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{certificate},
			RootCAs:      authority,
			// The certificate identifies the program, not the address: replicas have many
			// addresses and one name.
			ServerName: server,
			VerifyConnection: func(state tls.ConnectionState) error {
				actual, err := program(state.PeerCertificates[0])
				if err == nil && actual != server {
					err = fmt.Errorf("connected to %q instead of %q", actual, server)
				}
				return err
			},
		}
	})
}

// reloadingCredentials rebuilds its TLS configuration whenever its files change, so that a
// certificate can be replaced without a restart.
type reloadingCredentials struct {
	files  [3]string // authority, certificate, key
	config func(tls.Certificate, *x509.CertPool) *tls.Config

	mu       sync.Mutex
	modified [3]time.Time // of files
	current  credentials.TransportCredentials
}

func load(directory, name string, config func(tls.Certificate, *x509.CertPool) *tls.Config) (credentials.TransportCredentials, error) {
	r := &reloadingCredentials{
		files: [3]string{
			filepath.Join(directory, "ca.crt"),
			filepath.Join(directory, name+".crt"),
			filepath.Join(directory, name+".key"),
		},
		config: config,
	}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("certificates of %s: %w", name, err)
	}
	return r, nil
}

// latest returns credentials built from the current files. While the files are being
// replaced the certificate and the key may not match: latest returns the last valid pair
// until they do.
func (r *reloadingCredentials) latest() credentials.TransportCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, file := range r.files {
		if info, err := os.Stat(file); err == nil && !info.ModTime().Equal(r.modified[i]) {
			_ = r.read()
			break
		}
	}
	return r.current
}

func (r *reloadingCredentials) read() error {
	var modified [3]time.Time
	for i, file := range r.files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		modified[i] = info.ModTime()
	}
	pem, err := os.ReadFile(r.files[0])
	if err != nil {
		return err
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", r.files[0])
	}
	pair, err := tls.LoadX509KeyPair(r.files[1], r.files[2])
	if err != nil {
		return err
	}
	r.current, r.modified = credentials.NewTLS(r.config(pair, authority)), modified
	return nil
}

func (r *reloadingCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.latest().ClientHandshake(ctx, authority, conn)
}

func (r *reloadingCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.latest().ServerHandshake(conn)
}

func (r *reloadingCredentials) Info() credentials.ProtocolInfo { return r.latest().Info() }

// Clone returns r itself: it has no state of a connection.
func (r *reloadingCredentials) Clone() credentials.TransportCredentials { return r }

// OverrideServerName does nothing: ClientCredentials fixes the server's name.
func (r *reloadingCredentials) OverrideServerName(string) error { return nil }
