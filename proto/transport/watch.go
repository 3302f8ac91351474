package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// watchInterval is how often Watch checks, and repeats its warning.
	watchInterval = 5 * time.Second
	// watchTimeout bounds one check.
	watchTimeout = 3 * time.Second
)

// Watch logs whether something that a program depends on is ready, until ctx ends. It warns
// at each failed check, and reports once when check succeeds. It always returns nil: a
// program keeps running while a dependency is being fixed.
func Watch(ctx context.Context, log *slog.Logger, dependency string, check func(context.Context) error) error {
	for ready := false; ; {
		checkCtx, cancel := context.WithTimeout(ctx, watchTimeout)
		err := check(checkCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Warn("waiting for the "+dependency, "reason", err)
		case !ready:
			log.Info(dependency + " ready")
		}
		ready = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// CheckCertificate reports why peers would reject the certificate of a program in directory,
// or nil if they would not. Replacing the file fixes it, without a restart.
func CheckCertificate(directory, name string) error {
	path := func(file string) string { return filepath.Join(directory, file) }
	pair, err := tls.LoadX509KeyPair(path(name+".crt"), path(name+".key"))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(path("ca.crt"))
	if err != nil {
		return err
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	const fix = "put one made by deployments/certificates there; no restart is needed"
	if holder, err := program(pair.Leaf); err != nil || holder != name {
		return fmt.Errorf("%s (--certificates, CERTIFICATES) is issued to %v, not to %s: %s", path(name+".crt"), pair.Leaf.URIs, ID(name), fix)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("%s (--certificates, CERTIFICATES) is rejected by peers that trust %s: %w: %s", path(name+".crt"), path("ca.crt"), err, fix)
	}
	return nil
}
