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

// ServerCredentials returns the credentials of a server that proves to be
// name and accepts only clients with a certificate of the same authority. It
// reads ca.crt, <name>.crt and <name>.key from directory now, and again before
// a handshake when one of them was replaced.
func ServerCredentials(directory, name string) (credentials.TransportCredentials, error) {
	return load(directory, name, func(own tls.Certificate, authority *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:       tls.VersionTLS13,
			Certificates:     []tls.Certificate{own},
			ClientAuth:       tls.RequireAndVerifyClientCert,
			ClientCAs:        authority,
			VerifyConnection: func(state tls.ConnectionState) error { _, err := program(state.PeerCertificates[0]); return err },
		}
	})
}

// ClientCredentials returns the credentials of a client that proves to be name
// and speaks to no other program than server, whatever address it was given.
// It reads the same files as ServerCredentials, and as often.
func ClientCredentials(directory, name, server string) (credentials.TransportCredentials, error) {
	return load(directory, name, func(own tls.Certificate, authority *x509.CertPool) *tls.Config {
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{own},
			RootCAs:      authority,
			// The address says where, the certificate says who: replicas have
			// many addresses and one name.
			ServerName: server,
			VerifyConnection: func(state tls.ConnectionState) error {
				found, err := program(state.PeerCertificates[0])
				if err == nil && found != server {
					err = fmt.Errorf("connected to %q instead of %q", found, server)
				}
				return err
			},
		}
	})
}

// reloading builds its TLS configuration from files, anew whenever they change,
// so that a certificate is replaced without a restart.
type reloading struct {
	files  [3]string // authority, certificate, key
	config func(tls.Certificate, *x509.CertPool) *tls.Config

	mu      sync.Mutex
	stamp   [3]time.Time
	current credentials.TransportCredentials
}

func load(directory, name string, config func(tls.Certificate, *x509.CertPool) *tls.Config) (credentials.TransportCredentials, error) {
	r := &reloading{
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

// latest returns credentials made from the files as they are. While they are
// being replaced a certificate and its key may not match: the last good pair
// serves until they do.
func (r *reloading) latest() credentials.TransportCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, file := range r.files {
		if info, err := os.Stat(file); err == nil && !info.ModTime().Equal(r.stamp[i]) {
			_ = r.read()
			break
		}
	}
	return r.current
}

func (r *reloading) read() error {
	var stamp [3]time.Time
	for i, file := range r.files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		stamp[i] = info.ModTime()
	}
	pem, err := os.ReadFile(r.files[0])
	if err != nil {
		return err
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", r.files[0])
	}
	own, err := tls.LoadX509KeyPair(r.files[1], r.files[2])
	if err != nil {
		return err
	}
	r.current, r.stamp = credentials.NewTLS(r.config(own, authority)), stamp
	return nil
}

func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.latest().ClientHandshake(ctx, authority, conn)
}

func (r *reloading) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.latest().ServerHandshake(conn)
}

func (r *reloading) Info() credentials.ProtocolInfo { return r.latest().Info() }

// Clone returns r itself: it has no state of one connection.
func (r *reloading) Clone() credentials.TransportCredentials { return r }

// OverrideServerName does nothing: the server's name is not the caller's to
// choose.
func (r *reloading) OverrideServerName(string) error { return nil }
