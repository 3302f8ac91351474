// Package certificates issues the certificates with which the tiers authenticate to each
// other: a certificate authority (CA), and one certificate for each program, which contains
// the program's SPIFFE ID.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// authorityLifetime is long because a new authority invalidates all certificates.
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime is the maximum that browsers accept.
	leafLifetime = 397 * 24 * time.Hour
	// renewBefore is the remaining lifetime at which a certificate is renewed.
	renewBefore = 30 * 24 * time.Hour
	// backdate allows for clock skew between hosts.
	backdate = 5 * time.Minute
)

// program is the subject of a certificate.
type program struct {
	name   string
	server bool // accepts connections
}

var programs = []program{{"web-tier", true}, {"logic-tier", true}, {"data-tier", true}, {"broker", true}, {"operator", false}}

// Issue creates the missing certificates in directory, and replaces those that expire within
// 30 days or do not cover all hosts. hosts are additional names and addresses of the tiers;
// each certificate always covers its program's name and the loopback addresses. Issue returns
// the names of the certificates that it created.
func Issue(directory string, hosts []string) ([]string, error) {
	return IssueFor(leafLifetime, directory, hosts)
}

// IssueFor is like Issue, but the certificates expire after lifetime. It is for tests of
// expiry.
func IssueFor(lifetime time.Duration, directory string, hosts []string) ([]string, error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	var issued []string
	authority, created, err := openAuthority(directory)
	if err != nil {
		return nil, err
	}
	if created {
		issued = append(issued, "ca")
	}
	for _, p := range programs {
		names := slices.Concat([]string{p.name, "localhost", "127.0.0.1", "::1"}, hosts)
		if valid(directory, p.name, authority.Leaf, names) {
			continue
		}
		if err := issue(directory, p, authority, names, lifetime); err != nil {
			return issued, fmt.Errorf("certificate of %s: %w", p.name, err)
		}
		issued = append(issued, p.name)
	}
	return issued, nil
}

// Deliver copies the CA certificate and the certificate and key of one program from directory
// to the folder destination. Only the user uid can read the key. No program receives the key
// of another.
func Deliver(directory, name, destination string, uid int) error {
	if err := os.MkdirAll(destination, 0o755); err != nil {
		return err
	}
	// The key comes before its certificate, as in write.
	for _, file := range []struct {
		name string
		mode os.FileMode
	}{{name + ".key", 0o600}, {name + ".crt", 0o644}, {"ca.crt", 0o644}} {
		content, err := os.ReadFile(filepath.Join(directory, file.name))
		if err != nil {
			return err
		}
		temporary := filepath.Join(destination, file.name+".new")
		// A file from an interrupted delivery can belong to another user.
		if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(temporary, content, file.mode); err != nil {
			return err
		}
		if err := os.Chown(temporary, uid, -1); err != nil {
			return err
		}
		if err := os.Rename(temporary, filepath.Join(destination, file.name)); err != nil {
			return err
		}
	}
	return nil
}

// openAuthority loads the certificate authority. It creates one if directory has none, or if
// the authority would expire before the certificates it signs, and reports whether it did.
func openAuthority(directory string) (authority *tls.Certificate, created bool, err error) {
	certificate, key := paths(directory, "ca")
	pair, err := tls.LoadX509KeyPair(certificate, key)
	switch {
	case err == nil && time.Now().Before(pair.Leaf.NotAfter.Add(-leafLifetime)):
		return &pair, false, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, false, fmt.Errorf("read the certificate authority in %s: %w; restore it, or remove it to issue all certificates again", directory, err)
	case err != nil && exists(certificate):
		// A new authority would cut off every program that trusts this one.
		return nil, false, fmt.Errorf("%s exists but %s does not: restore the key, or remove the certificate to issue all certificates again", certificate, key)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "TechTalks authority"},
		NotAfter:              time.Now().Add(authorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if err := write(directory, "ca", template, nil); err != nil {
		return nil, false, err
	}
	pair, err = tls.LoadX509KeyPair(certificate, key)
	return &pair, true, err
}

func issue(directory string, p program, authority *tls.Certificate, names []string, lifetime time.Duration) error {
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: p.name},
		NotAfter: time.Now().Add(lifetime),
		URIs:     []*url.URL{identity(p.name)},
		KeyUsage: x509.KeyUsageDigitalSignature,
		// A tier is a server to one neighbour and a client of the other.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if p.server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, name := range names {
			if ip := net.ParseIP(name); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, name)
			}
		}
	}
	return write(directory, p.name, template, authority)
}

// identity returns the SPIFFE ID of a program.
func identity(name string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: "techtalks.example", Path: "/" + name}
}

// write creates a key and a certificate signed by authority, or self-signed if authority is
// nil. It writes the key first, so that a reader of the new certificate also finds its key.
func write(directory, name string, template *x509.Certificate, authority *tls.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	template.NotBefore = time.Now().Add(-backdate)
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificatePath, keyPath := paths(directory, name)
	if err := replace(keyPath, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return replace(certificatePath, "CERTIFICATE", der, 0o644)
}

// replace replaces a file atomically: a reader finds the previous content or the new one.
func replace(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// valid reports whether a certificate and its key match, are signed by authority, cover all
// names, and do not expire soon.
func valid(directory, name string, authority *x509.Certificate, names []string) bool {
	certificate, key := paths(directory, name)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil || pair.Leaf.CheckSignatureFrom(authority) != nil || time.Now().Add(renewBefore).After(pair.Leaf.NotAfter) {
		return false
	}
	for _, name := range names {
		if slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && pair.Leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func paths(directory, name string) (certificate, key string) {
	return filepath.Join(directory, name+".crt"), filepath.Join(directory, name+".key")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
