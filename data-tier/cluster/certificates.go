package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// certificates is the folder that the server reads its certificates from, and
// shows them from as the client of another data tier.
func (c *Cluster) certificates() string { return filepath.Join(c.options.Directory, "certificates") }

// copyCertificates copies the certificates to a folder where only the server
// reads them, and says whether that changed anything. A pair that does not match
// is not taken: it is being replaced.
func (c *Cluster) copyCertificates(folder string) (changed bool, err error) {
	contents := map[string][]byte{}
	for name, from := range map[string]string{"ca.crt": "ca.crt", "server.crt": "data-tier.crt", "server.key": "data-tier.key"} {
		content, err := os.ReadFile(filepath.Join(c.options.Certificates, from))
		if err != nil {
			return false, fmt.Errorf("%w: make them with deployments/certificates, or say with --certificates (CERTIFICATES) where they are", err)
		}
		contents[name] = content
	}
	const mend = "make them with deployments/certificates, or say with --certificates (CERTIFICATES) where they are"
	own, err := tls.X509KeyPair(contents["server.crt"], contents["server.key"])
	if err != nil {
		return false, fmt.Errorf("data-tier.crt and data-tier.key in %s: %w: %s", c.options.Certificates, err, mend)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(contents["ca.crt"]) {
		return false, fmt.Errorf("%s/ca.crt holds no certificate: %s", c.options.Certificates, mend)
	}
	c.refused = refused(own, authority)
	for name, content := range contents {
		path := filepath.Join(folder, name)
		if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, content) {
			continue
		}
		if err := c.replace(path, content); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// refused says why others refuse a certificate: nil when they do not.
func refused(own tls.Certificate, authority *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, der := range own.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	if own.Leaf.Subject.CommonName != "data-tier" {
		return fmt.Errorf("it is that of %q", own.Leaf.Subject.CommonName)
	}
	_, err := own.Leaf.Verify(x509.VerifyOptions{Roots: authority, Intermediates: between})
	return err
}

// sayRefused says why others refuse the certificate, as long as they do.
func (c *Cluster) sayRefused() {
	if c.refused != nil {
		c.log.Warn("waiting for the certificate: data-tier.crt (--certificates, CERTIFICATES) is refused by others; put one made by deployments/certificates there; it is used without a restart",
			"folder", c.options.Certificates, "reason", c.refused)
	}
}
