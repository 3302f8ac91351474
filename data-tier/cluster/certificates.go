package cluster

import (
	"bytes"
	"crypto/tls"
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
	if _, err := tls.X509KeyPair(contents["server.crt"], contents["server.key"]); err != nil {
		return false, fmt.Errorf("data-tier.crt and data-tier.key: %w", err)
	}
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
