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

// credentials are a program's certificate, key and trusted authority.
type credentials struct {
	directory, program string

	pair    tls.Certificate
	pairErr error
	leaf    *x509.Certificate // also set if the key does not match
	leafErr error
	ca      *x509.Certificate
	roots   *x509.CertPool
	caErr   error
}

func (c *credentials) path(name string) string { return filepath.Join(c.directory, name) }

// read reads the files of the directory, and records errors in the fields.
func (c *credentials) read() {
	if c.ca, c.caErr = readCertificate(c.path("ca.crt")); c.caErr == nil {
		c.roots = x509.NewCertPool()
		content, _ := os.ReadFile(c.path("ca.crt"))
		c.roots.AppendCertsFromPEM(content) // several while an authority is being replaced
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
		return nil, fmt.Errorf("%s contains no certificate", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// certificateFix returns how to issue a program's certificate again.
func certificateFix(program string) string {
	return fmt.Sprintf("on the machine with the authority, run deployments/certificates/issue with -deliver %s=folder:uid, and copy the folder to the host; no restart is needed", program)
}

// checkFolder checks the certificate folder of this host's program.
func (s settings) checkFolder(creds credentials, hosts []string) check {
	about := "certificate " + creds.path(creds.program+".crt")
	var checks []check
	if creds.caErr != nil {
		checks = append(checks, report(unreadable("certificate "+creds.path("ca.crt"), creds.caErr, creds.program)))
	} else {
		checks = append(checks, report(checkValidity("certificate "+creds.path("ca.crt"), creds.ca, "create a new authority and all certificates with deployments/certificates/issue in a new directory")))
	}
	if creds.leafErr != nil {
		checks = append(checks, report(unreadable(about, creds.leafErr, creds.program)))
	} else {
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if creds.program == logicTier || creds.program == dataTier {
			usages = append(usages, x509.ExtKeyUsageServerAuth)
		}
		if creds.program == logicTier {
			hosts = []string{logicTier} // independent of its address: see package transport
		}
		checks = append(checks, report(checkCertificate(about, []*x509.Certificate{creds.leaf}, creds.roots,
			expectation{program: creds.program, hosts: hosts, usages: usages, fix: certificateFix(creds.program)})...))
	}
	checks = append(checks, report(creds.checkKey(), creds.checkPermissions()))
	if keys := creds.foreignKeys(); keys != "" {
		checks = append(checks, report(finding{verdictNote, "folder " + creds.directory, "it contains keys of other programs: " + keys + "; delete them from this host", ""}))
	}
	return func(ctx context.Context) []finding { return runParallel(ctx, checks...) }
}

// unreadable returns the finding for a file that cannot be read.
func unreadable(about string, err error, program string) finding {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding{verdictWrong, about, "the file does not exist", "set CERTIFICATES to its folder; if it was never issued: " + certificateFix(program)}
	case errors.Is(err, fs.ErrPermission):
		return finding{verdictWrong, about, err.Error(), fmt.Sprintf("make the program's user, who also runs doctor, its owner: chown -R %d on its folder, as -deliver does", os.Getuid())}
	}
	return finding{verdictWrong, about, err.Error(), certificateFix(program)}
}

func (c *credentials) checkKey() finding {
	about := "key " + c.path(c.program+".key")
	if _, err := os.ReadFile(c.path(c.program + ".key")); err != nil {
		return unreadable(about, err, c.program)
	}
	if c.leafErr != nil {
		return finding{verdictNote, about, "not checked: the certificate is not readable", ""}
	}
	if c.pairErr != nil {
		return finding{verdictWrong, about, "it does not match " + c.program + ".crt: " + c.pairErr.Error(), "copy both from the same folder; if they never matched: " + certificateFix(c.program)}
	}
	return finding{verdictOK, about, "matches " + c.program + ".crt", ""}
}

// checkPermissions checks that other users cannot read the key. A key of root can be readable
// by its group, as Kubernetes mounts it; lib/pq and Postgres accept no other modes.
func (c *credentials) checkPermissions() finding {
	path := c.path(c.program + ".key")
	about := "key " + path + ", permissions"
	info, err := os.Stat(path)
	if err != nil {
		return finding{verdictNote, about, "not checked: " + err.Error(), ""}
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 || mode&0o037 == 0 && ownedByRoot(info) {
		return finding{verdictOK, about, fmt.Sprintf("%04o", mode), ""}
	}
	return finding{verdictWrong, about, fmt.Sprintf("%04o: other users of this host can read it", mode), "chmod 600 " + path + "; if this host has other users, issue it again"}
}

func ownedByRoot(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}

// foreignKeys returns the names of other programs' keys in the folder.
func (c *credentials) foreignKeys() string {
	var names []string
	keys, _ := filepath.Glob(c.path("*.key")) // the pattern is valid
	for _, key := range keys {
		if name := filepath.Base(key); name != c.program+".key" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
