package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// credentials are a program's certificate and key, and whom it trusts.
type credentials struct {
	directory, program string

	pair    tls.Certificate
	pairErr error
	leaf    *x509.Certificate // also without a key that fits
	leafErr error
	ca      *x509.Certificate
	roots   *x509.CertPool
	caErr   error
}

func (c *credentials) path(name string) string { return filepath.Join(c.directory, name) }

func (c *credentials) read() {
	if c.ca, c.caErr = readCertificate(c.path("ca.crt")); c.caErr == nil {
		c.roots = x509.NewCertPool()
		content, _ := os.ReadFile(c.path("ca.crt"))
		c.roots.AppendCertsFromPEM(content) // all of them, while an authority is replaced
	}
	c.leaf, c.leafErr = readCertificate(c.path(c.program + ".crt"))
	c.pair, c.pairErr = tls.LoadX509KeyPair(c.path(c.program+".crt"), c.path(c.program+".key"))
}

// readCertificate reads the first certificate of a file.
func readCertificate(path string) (*x509.Certificate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// remedy is how a program's certificate is made anew.
func remedy(program string) string {
	return fmt.Sprintf("on the machine that keeps the authority run deployments/certificates/issue with -deliver %s=folder:uid, and copy that folder to the host; no restart is needed", program)
}

// folder looks at the files of this host's program.
func (s settings) folder(own credentials, hosts []string) check {
	about := "certificate " + own.path(own.program+".crt")
	var all []check
	if own.caErr != nil {
		all = append(all, said(unreadable("certificate "+own.path("ca.crt"), own.caErr, own.program)))
	} else {
		all = append(all, said(judgeDates("certificate "+own.path("ca.crt"), own.ca, "make a new authority and all certificates anew, with deployments/certificates/issue in a new directory")))
	}
	if own.leafErr != nil {
		all = append(all, said(unreadable(about, own.leafErr, own.program)))
	} else {
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if own.program == logicTier || own.program == dataTier {
			usages = append(usages, x509.ExtKeyUsageServerAuth)
		}
		if own.program == logicTier {
			hosts = []string{logicTier} // whatever its address: see package transport
		}
		all = append(all, said(judge(about, []*x509.Certificate{own.leaf}, own.roots,
			expected{program: own.program, hosts: hosts, usages: usages, remedy: remedy(own.program)})...))
	}
	all = append(all, said(own.key(), own.permissions()))
	if others := own.others(); others != "" {
		all = append(all, said(finding{noted, "folder " + own.directory, "it holds keys of others too: " + others + "; a host needs its own alone", ""}))
	}
	return func(ctx context.Context) []finding { return sideBySide(ctx, all...) }
}

func unreadable(about string, err error, program string) finding {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding{wrong, about, "it is not there", "say with CERTIFICATES where it is; if it was not made: " + remedy(program)}
	case errors.Is(err, fs.ErrPermission):
		return finding{wrong, about, err.Error(), fmt.Sprintf("give it to the user that the program runs as, this one: chown -R %d on its folder, as -deliver does", os.Getuid())}
	}
	return finding{wrong, about, err.Error(), remedy(program)}
}

func (c *credentials) key() finding {
	about := "key " + c.path(c.program+".key")
	if _, err := os.ReadFile(c.path(c.program + ".key")); err != nil {
		return unreadable(about, err, c.program)
	}
	if c.leafErr != nil {
		return finding{noted, about, "not judged: its certificate cannot be read", ""}
	}
	if c.pairErr != nil {
		return finding{wrong, about, "it is not that of " + c.program + ".crt: " + c.pairErr.Error(), "copy both from the same folder; if they never matched: " + remedy(c.program)}
	}
	return finding{fine, about, "is that of " + c.program + ".crt", ""}
}

// permissions says whether others may read the key. That of root may be read by its
// group, which is how Kubernetes gives it; lib/pq and Postgres take no other.
func (c *credentials) permissions() finding {
	path := c.path(c.program + ".key")
	about := "key " + path + ", permissions"
	info, err := os.Stat(path)
	if err != nil {
		return finding{noted, about, "not judged: " + err.Error(), ""}
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 || mode&0o037 == 0 && ownedByRoot(info) {
		return finding{fine, about, fmt.Sprintf("%04o", mode), ""}
	}
	return finding{wrong, about, fmt.Sprintf("%04o: others on this host may read it", mode), "chmod 600 " + path + "; if others were on this host, have it made anew"}
}

func ownedByRoot(info fs.FileInfo) bool {
	is, known := info.Sys().(*syscall.Stat_t)
	return known && is.Uid == 0
}

// others are the names of keys in the folder that are not this program's.
func (c *credentials) others() string {
	var names []string
	keys, _ := filepath.Glob(c.path("*.key")) // the pattern is a constant
	for _, key := range keys {
		if name := filepath.Base(key); name != c.program+".key" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
