package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func leaf(t *testing.T, directory, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(paths(directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func mustIssue(t *testing.T, directory string, hosts ...string) []string {
	t.Helper()
	issued, err := Issue(directory, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func TestCertificatesIdentifyTheirPrograms(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	issued := mustIssue(t, directory, "logic.internal", "10.0.0.7")
	if want := []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"}; !slices.Equal(issued, want) {
		t.Fatalf("issued %v, want %v", issued, want)
	}
	authority := x509.NewCertPool()
	authority.AddCert(leaf(t, directory, "ca"))
	for _, p := range programs {
		certificate := leaf(t, directory, p.name)
		if len(certificate.URIs) != 1 || certificate.URIs[0].String() != "spiffe://techtalks.example/"+p.name {
			t.Errorf("%s: got URIs %v, want its SPIFFE ID", p.name, certificate.URIs)
		}
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s as a client: %v", p.name, err)
		}
		for _, host := range []string{p.name, "localhost", "127.0.0.1", "::1", "logic.internal", "10.0.0.7"} {
			_, err := certificate.Verify(x509.VerifyOptions{Roots: authority, DNSName: host})
			if (err == nil) != p.server {
				t.Errorf("%s as the server of %s: %v", p.name, host, err)
			}
		}
		if certificate.IsCA {
			t.Errorf("%s is a certificate authority", p.name)
		}
	}
	for _, name := range []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"} {
		_, key := paths(directory, name)
		info, err := os.Stat(key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", key, info.Mode())
		}
	}
}

func TestIssueKeepsValidCertificates(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	mustIssue(t, directory)
	before := leaf(t, directory, "web-tier")
	if issued := mustIssue(t, directory); len(issued) != 0 {
		t.Errorf("issued %v again", issued)
	}
	if !leaf(t, directory, "web-tier").Equal(before) {
		t.Error("the web tier's certificate changed")
	}
}

func TestIssueReplacesInvalidCertificates(t *testing.T) {
	t.Parallel()
	expireIn := func(t *testing.T, directory string, lifetime time.Duration) {
		authority, _, err := openAuthority(directory)
		if err != nil {
			t.Fatal(err)
		}
		template := leaf(t, directory, "web-tier")
		template.NotAfter = time.Now().Add(lifetime)
		if err := write(directory, "web-tier", template, authority); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, directory string)
		hosts  []string
		want   []string
	}{
		"missing": {func(t *testing.T, d string) {
			if err := os.Remove(filepath.Join(d, "web-tier.crt")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"web-tier"}},
		"with the key of another program": {func(t *testing.T, d string) {
			if err := os.Rename(filepath.Join(d, "operator.key"), filepath.Join(d, "web-tier.key")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"web-tier", "operator"}},
		"expires within the month": {func(t *testing.T, d string) { expireIn(t, d, renewBefore-time.Hour) }, nil, []string{"web-tier"}},
		"expires after the month":  {func(t *testing.T, d string) { expireIn(t, d, renewBefore+time.Hour) }, nil, nil},
		"lack a host name":         {func(*testing.T, string) {}, []string{"another.host"}, []string{"web-tier", "logic-tier", "data-tier", "broker"}},
		"all without an authority": {func(t *testing.T, d string) {
			for _, name := range []string{"ca.crt", "ca.key"} {
				if err := os.Remove(filepath.Join(d, name)); err != nil {
					t.Fatal(err)
				}
			}
		}, nil, []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			mustIssue(t, directory)
			c.damage(t, directory)
			if issued := mustIssue(t, directory, c.hosts...); !slices.Equal(issued, c.want) {
				t.Errorf("issued %v, want %v", issued, c.want)
			}
		})
	}
}

// Issue does not replace an authority whose key is lost: programs still trust it.
func TestIssueDoesNotReplaceDamagedAuthority(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(key string) error{
		"key missing":   os.Remove,
		"key truncated": func(key string) error { return os.WriteFile(key, []byte("-----BEGIN"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			mustIssue(t, directory)
			before := leaf(t, directory, "operator")
			if err := damage(filepath.Join(directory, "ca.key")); err != nil {
				t.Fatal(err)
			}
			if _, err := Issue(directory, nil); err == nil || !strings.Contains(err.Error(), "remove") {
				t.Errorf("got %v, want an error with instructions", err)
			}
			if !leaf(t, directory, "operator").Equal(before) {
				t.Error("the operator certificate changed")
			}
		})
	}
}

func TestDeliverCopiesOnlyCertificateOfOneProgram(t *testing.T) {
	t.Parallel()
	directory, destination := t.TempDir(), t.TempDir()
	mustIssue(t, directory)
	if err := os.WriteFile(filepath.Join(destination, "web-tier.key.new"), []byte("stale"), 0o400); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over existing files
		if err := Deliver(directory, "web-tier", destination, os.Getuid()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(destination)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]os.FileMode{}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[entry.Name()] = info.Mode()
	}
	if len(modes) != 3 || modes["web-tier.key"] != 0o600 || modes["web-tier.crt"] != 0o644 || modes["ca.crt"] != 0o644 {
		t.Errorf("delivered %v, want web-tier.key (0600), web-tier.crt and ca.crt (0644)", modes)
	}
	if !leaf(t, destination, "web-tier").Equal(leaf(t, directory, "web-tier")) {
		t.Error("the delivered certificate differs from the issued one")
	}
}
