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

func issued(t *testing.T, directory string, hosts ...string) []string {
	t.Helper()
	made, err := Issue(directory, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestEveryProgramIsNamedByItsCertificate(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	made := issued(t, directory, "logic.internal", "10.0.0.7")
	if want := []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"}; !slices.Equal(made, want) {
		t.Fatalf("made %v, want %v", made, want)
	}
	authority := x509.NewCertPool()
	authority.AddCert(leaf(t, directory, "ca"))
	for _, p := range programs {
		certificate := leaf(t, directory, p.name)
		if len(certificate.URIs) != 1 || certificate.URIs[0].String() != "spiffe://techtalks.example/"+p.name {
			t.Errorf("%s is %v", p.name, certificate.URIs)
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
			t.Errorf("%s may sign", p.name)
		}
	}
	for _, name := range []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"} {
		_, key := paths(directory, name)
		info, err := os.Stat(key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", key, info.Mode())
		}
	}
}

func TestWhatIsGoodStays(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	issued(t, directory)
	before := leaf(t, directory, "web-tier")
	if made := issued(t, directory); len(made) != 0 {
		t.Errorf("made again: %v", made)
	}
	if !leaf(t, directory, "web-tier").Equal(before) {
		t.Error("the web tier's certificate changed")
	}
}

func TestWhatIsNotGoodIsMadeAnew(t *testing.T) {
	t.Parallel()
	expiring := func(t *testing.T, directory string, left time.Duration) {
		authority, _, err := openAuthority(directory)
		if err != nil {
			t.Fatal(err)
		}
		template := leaf(t, directory, "web-tier")
		template.NotAfter = time.Now().Add(left)
		if err := write(directory, "web-tier", template, authority); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, directory string)
		hosts []string
		made  []string
	}{
		"one that is missing": {func(t *testing.T, d string) {
			if err := os.Remove(filepath.Join(d, "web-tier.crt")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"web-tier"}},
		"one of another key": {func(t *testing.T, d string) {
			if err := os.Rename(filepath.Join(d, "operator.key"), filepath.Join(d, "web-tier.key")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"web-tier", "operator"}},
		"one that ends within the month": {func(t *testing.T, d string) { expiring(t, d, renewBefore-time.Hour) }, nil, []string{"web-tier"}},
		"none that ends after the month": {func(t *testing.T, d string) { expiring(t, d, renewBefore+time.Hour) }, nil, nil},
		"those that lack a host's name":  {func(*testing.T, string) {}, []string{"another.host"}, []string{"web-tier", "logic-tier", "data-tier", "broker"}},
		"all when the authority was lost": {func(t *testing.T, d string) {
			for _, name := range []string{"ca.crt", "ca.key"} {
				if err := os.Remove(filepath.Join(d, name)); err != nil {
					t.Fatal(err)
				}
			}
		}, nil, []string{"ca", "web-tier", "logic-tier", "data-tier", "broker", "operator"}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			issued(t, directory)
			c.spoil(t, directory)
			if made := issued(t, directory, c.hosts...); !slices.Equal(made, c.made) {
				t.Errorf("made %v, want %v", made, c.made)
			}
		})
	}
}

// An authority whose key is lost is not replaced behind the back of those who
// trust it.
func TestAnAuthorityIsNotReplacedUnasked(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(key string) error{
		"without its key":   os.Remove,
		"with half its key": func(key string) error { return os.WriteFile(key, []byte("-----BEGIN"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			issued(t, directory)
			before := leaf(t, directory, "operator")
			if err := spoil(filepath.Join(directory, "ca.key")); err != nil {
				t.Fatal(err)
			}
			if _, err := Issue(directory, nil); err == nil || !strings.Contains(err.Error(), "remove") {
				t.Errorf("got %v, want it to say what to do", err)
			}
			if !leaf(t, directory, "operator").Equal(before) {
				t.Error("a certificate changed all the same")
			}
		})
	}
}

func TestAProgramIsDeliveredItsOwnAlone(t *testing.T) {
	t.Parallel()
	directory, to := t.TempDir(), t.TempDir()
	issued(t, directory)
	if err := os.WriteFile(filepath.Join(to, "web-tier.key.new"), []byte("left over"), 0o400); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over what is there
		if err := Deliver(directory, "web-tier", to, os.Getuid()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(to)
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
		t.Errorf("delivered %v", modes)
	}
	if !leaf(t, to, "web-tier").Equal(leaf(t, directory, "web-tier")) {
		t.Error("another certificate was delivered")
	}
}
