package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// certificates returns the folder of the certificates that Postgres presents, as
// a server and as the client of another data tier.
func (c *Cluster) certificates() string { return filepath.Join(c.options.Directory, "certificates") }

// copyCertificates copies the certificates into a folder that only the server
// can read, and reports whether any of them changed. It copies nothing if key and
// certificate do not match: they are being replaced.
func (c *Cluster) copyCertificates(folder string) (changed bool, err error) {
	const fix = "make them with deployments/certificates, or set --certificates (CERTIFICATES) to their directory"
	contents := map[string][]byte{}
	for name, source := range map[string]string{"ca.crt": "ca.crt", "server.crt": "data-tier.crt", "server.key": "data-tier.key"} {
		content, err := os.ReadFile(filepath.Join(c.options.Certificates, source))
		if err != nil {
			return false, fmt.Errorf("%w: %s", err, fix)
		}
		contents[name] = content
	}
	pair, err := tls.X509KeyPair(contents["server.crt"], contents["server.key"])
	if err != nil {
		return false, fmt.Errorf("data-tier.crt and data-tier.key in %s: %w: %s", c.options.Certificates, err, fix)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(contents["ca.crt"]) {
		return false, fmt.Errorf("%s/ca.crt holds no certificate: %s", c.options.Certificates, fix)
	}
	c.certificateErr = checkCertificate(pair, authority)
	for name, content := range contents {
		path := filepath.Join(folder, name)
		if current, err := os.ReadFile(path); err == nil && bytes.Equal(current, content) {
			continue
		}
		if err := c.replace(path, content); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// checkCertificate returns why peers reject a certificate, or nil if they accept it.
func checkCertificate(pair tls.Certificate, authority *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	if pair.Leaf.Subject.CommonName != "data-tier" {
		return fmt.Errorf("its common name is %q, not \"data-tier\"", pair.Leaf.Subject.CommonName)
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: authority, Intermediates: intermediates})
	return err
}

// warnCertificate warns if peers reject the certificate.
func (c *Cluster) warnCertificate() {
	if c.certificateErr != nil {
		c.log.Warn("waiting for the certificate: peers reject data-tier.crt (--certificates, CERTIFICATES): put one made by deployments/certificates there; it is used without a restart",
			"folder", c.options.Certificates, "reason", c.certificateErr)
	}
}
