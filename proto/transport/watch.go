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
	// sayEvery is how often Watch looks, and says again what is wrong.
	sayEvery = 5 * time.Second
	// askTimeout bounds one look.
	askTimeout = 3 * time.Second
)

// Watch says what is wrong with something that a program needs, as long as it is wrong, and
// when it is well, until ctx ends. It returns nil: a program waits for what may be mended
// while it runs.
func Watch(ctx context.Context, log *slog.Logger, what string, well func(context.Context) error) error {
	for was := false; ; {
		asking, done := context.WithTimeout(ctx, askTimeout)
		err := well(asking)
		done()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Warn("waiting for the "+what, "reason", err)
		case !was:
			log.Info("the " + what + " is well")
		}
		was = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sayEvery):
		}
	}
}

// CheckCertificate says why others refuse the certificate of a program, that it has in
// directory: nil when they do not. Whatever it says is mended by another certificate there,
// without a restart.
func CheckCertificate(directory, name string) error {
	path := func(file string) string { return filepath.Join(directory, file) }
	own, err := tls.LoadX509KeyPair(path(name+".crt"), path(name+".key"))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(path("ca.crt"))
	if err != nil {
		return err
	}
	authority, between := x509.NewCertPool(), x509.NewCertPool()
	authority.AppendCertsFromPEM(pem)
	for _, der := range own.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	const mend = "put one made by deployments/certificates there; it is used without a restart"
	if found, err := program(own.Leaf); err != nil || found != name {
		return fmt.Errorf("%s (--certificates, CERTIFICATES) is that of %v, and not of %s: %s", path(name+".crt"), own.Leaf.URIs, ID(name), mend)
	}
	if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: authority, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("%s (--certificates, CERTIFICATES) is refused by whoever knows the authority in %s: %w: %s", path(name+".crt"), path("ca.crt"), err, mend)
	}
	return nil
}
