package main

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"techtalks.example/proto/transport"
)

// renewBefore is how long before its expiry a certificate must be renewed.
// deployments/certificates/issue renews it from then on.
const renewBefore = 30 * 24 * time.Hour

// expectation is the expected content of a certificate.
type expectation struct {
	// program is the program in the SPIFFE ID; if empty, the ID is not checked.
	program string
	// hosts are the names that clients connect to.
	hosts []string
	// usages are the required key usages.
	usages []x509.ExtKeyUsage
	// fix is how to replace the certificate.
	fix string
}

// checkCertificate checks the authority, the names and the validity of a certificate, which is
// the first of chain.
func checkCertificate(about string, chain []*x509.Certificate, roots *x509.CertPool, want expectation) []finding {
	return []finding{
		checkAuthority(about, chain, roots, want),
		checkName(about, chain[0], want),
		checkValidity(about, chain[0], want.fix),
	}
}

func checkAuthority(about string, chain []*x509.Certificate, roots *x509.CertPool, want expectation) finding {
	about += ", authority"
	if roots == nil {
		return finding{verdictNote, about, "not checked: ca.crt is not readable", ""}
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	// checkValidity checks the dates; here, the time is one within them.
	now := time.Now()
	if leaf := chain[0]; now.Before(leaf.NotBefore) {
		now = leaf.NotBefore
	} else if now.After(leaf.NotAfter) {
		now = leaf.NotAfter
	}
	for _, usage := range want.usages {
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return finding{verdictWrong, about, "not issued by the authority in this host's ca.crt: " + err.Error(),
				"use certificates of one authority on all hosts: " + want.fix}
		}
	}
	return finding{verdictOK, about, "issued by the authority in ca.crt", ""}
}

func checkName(about string, leaf *x509.Certificate, want expectation) finding {
	about += ", name"
	var names []string
	if want.program != "" {
		id := transport.ID(want.program).String()
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id {
			return finding{verdictWrong, about, fmt.Sprintf("got SPIFFE ID %v, want %s", leaf.URIs, id),
				"install the certificate of " + want.program + ": " + want.fix}
		}
		// The data tier and the broker identify clients by the common name.
		if leaf.Subject.CommonName != want.program {
			return finding{verdictWrong, about, fmt.Sprintf("got common name %q, want %q", leaf.Subject.CommonName, want.program), want.fix}
		}
		names = append(names, id)
	}
	for _, host := range want.hosts {
		if leaf.VerifyHostname(host) != nil {
			return finding{verdictWrong, about, fmt.Sprintf("it does not name %s, but %s", host, strings.Join(namesOf(leaf), ", ")),
				"add the name that clients connect to with -hosts: " + want.fix}
		}
		names = append(names, host)
	}
	return finding{verdictOK, about, "names " + strings.Join(names, ", "), ""}
}

// namesOf returns the host names and addresses in a certificate.
func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"no host"}
	}
	return names
}

func checkValidity(about string, c *x509.Certificate, fix string) finding {
	about += ", dates"
	const layout = "2006-01-02 15:04 MST"
	now := time.Now()
	switch {
	case now.Before(c.NotBefore):
		return finding{verdictWrong, about, "not valid before " + c.NotBefore.UTC().Format(layout) + "; this host's time is " + now.UTC().Format(layout),
			"set this host's clock (NTP: timedatectl set-ntp true); if it is right, the clock of the machine that issued the certificate was wrong: " + fix}
	case now.After(c.NotAfter):
		return finding{verdictWrong, about, "it expired on " + c.NotAfter.UTC().Format(layout), fix}
	case now.Add(renewBefore).After(c.NotAfter):
		return finding{verdictWrong, about, fmt.Sprintf("it expires on %s, in %d days", c.NotAfter.UTC().Format(layout), int(c.NotAfter.Sub(now).Hours()/24)), fix}
	}
	return finding{verdictOK, about, "valid until " + c.NotAfter.UTC().Format(layout), ""}
}
