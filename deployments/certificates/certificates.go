// Package certificates makes the certificates by which the tiers know each
// other: an authority, and a certificate a program, named by its SPIFFE ID.
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
	// authorityLife is long: replacing the authority means replacing all.
	authorityLife = 10 * 365 * 24 * time.Hour
	// leafLife is what browsers accept at most, and leaves time to notice.
	leafLife = 397 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
	// backdate allows for hosts whose clocks differ a little.
	backdate = 5 * time.Minute
)

// program is who a certificate is made for.
type program struct {
	name   string
	server bool // it is connected to, not only connects
}

var programs = []program{{"web-tier", true}, {"logic-tier", true}, {"data-tier", true}, {"broker", true}, {"operator", false}}

// Issue makes what is missing in directory, and what expires within 30 days or
// does not name all hosts; what is good stays. hosts are names and addresses,
// beside its own name and those of this machine, under which each tier is
// reached. It returns what it made.
func Issue(directory string, hosts []string) ([]string, error) {
	return IssueFor(leafLife, directory, hosts)
}

// IssueFor is Issue, but what it makes ends after life: to see what becomes of a
// system whose certificates end.
func IssueFor(life time.Duration, directory string, hosts []string) ([]string, error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	var made []string
	authority, isNew, err := openAuthority(directory)
	if err != nil {
		return nil, err
	}
	if isNew {
		made = append(made, "ca")
	}
	for _, p := range programs {
		names := slices.Concat([]string{p.name, "localhost", "127.0.0.1", "::1"}, hosts)
		if good(directory, p.name, authority.Leaf, names) {
			continue
		}
		if err := issue(directory, p, authority, names, life); err != nil {
			return made, fmt.Errorf("certificate of %s: %w", p.name, err)
		}
		made = append(made, p.name)
	}
	return made, nil
}

// Deliver copies what one program needs, the authority's certificate and its own
// pair, from directory to the folder to; the key is for the user uid alone.
// Each program so gets its own key and no other.
func Deliver(directory, name, to string, uid int) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	// The key before its certificate, as in write.
	for _, file := range []struct {
		name string
		mode os.FileMode
	}{{name + ".key", 0o600}, {name + ".crt", 0o644}, {"ca.crt", 0o644}} {
		content, err := os.ReadFile(filepath.Join(directory, file.name))
		if err != nil {
			return err
		}
		made := filepath.Join(to, file.name+".new")
		// What an interrupted delivery left may be another user's.
		if err := os.Remove(made); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(made, content, file.mode); err != nil {
			return err
		}
		if err := os.Chown(made, uid, -1); err != nil {
			return err
		}
		if err := os.Rename(made, filepath.Join(to, file.name)); err != nil {
			return err
		}
	}
	return nil
}

func openAuthority(directory string) (*tls.Certificate, bool, error) {
	certificate, key := paths(directory, "ca")
	pair, err := tls.LoadX509KeyPair(certificate, key)
	switch {
	case err == nil && time.Now().Before(pair.Leaf.NotAfter.Add(-leafLife)):
		return &pair, false, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, false, fmt.Errorf("the authority in %s cannot be read: %w: mend it, or remove it to make all certificates anew", directory, err)
	case err != nil && exists(certificate):
		// Making another would cut off everybody who trusts this one.
		return nil, false, fmt.Errorf("%s is there and %s is not: bring the key, or remove the certificate to make all anew", certificate, key)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "TechTalks authority"},
		NotAfter:              time.Now().Add(authorityLife),
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

func issue(directory string, p program, authority *tls.Certificate, names []string, life time.Duration) error {
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: p.name},
		NotAfter: time.Now().Add(life),
		URIs:     []*url.URL{identity(p.name)},
		KeyUsage: x509.KeyUsageDigitalSignature,
		// A tier answers its neighbour on one side and calls it on the other.
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

// identity is a program's SPIFFE ID, by which the others know it.
func identity(name string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: "techtalks.example", Path: "/" + name}
}

// write makes a key and its certificate, signed by authority or by itself. The
// key comes first: whoever finds a new certificate finds its key too.
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

// replace writes a file at once: a reader finds the old one or the new one.
func replace(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// good says whether a certificate is there, whole, of this authority, for all
// names, and for a while yet.
func good(directory, name string, authority *x509.Certificate, names []string) bool {
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
