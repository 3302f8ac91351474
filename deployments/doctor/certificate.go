package main

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"techtalks.example/proto/transport"
)

// renewBefore is when a certificate is due: deployments/certificates/issue makes it anew
// from then on.
const renewBefore = 30 * 24 * time.Hour

// expected is what a certificate is to be.
type expected struct {
	// program is whose it is, by its SPIFFE ID; empty: not judged.
	program string
	// hosts are names under which it is connected to.
	hosts []string
	// usages are what it is for.
	usages []x509.ExtKeyUsage
	// remedy is how to have it made anew where it is.
	remedy string
}

// judge says of a certificate, and those sent with it, whether it is of an authority,
// names who it should, and is valid now.
func judge(about string, chain []*x509.Certificate, roots *x509.CertPool, want expected) []finding {
	return []finding{
		judgeAuthority(about, chain, roots, want),
		judgeName(about, chain[0], want),
		judgeDates(about, chain[0], want.remedy),
	}
}

func judgeAuthority(about string, chain []*x509.Certificate, roots *x509.CertPool, want expected) finding {
	about += ", authority"
	if roots == nil {
		return finding{noted, about, "not judged: ca.crt cannot be read", ""}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	// Its dates are judged apart: at a time when it is valid, the rest must be right.
	at := time.Now()
	if leaf := chain[0]; at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	} else if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	for _, usage := range want.usages {
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return finding{wrong, about, "it is not of the authority in ca.crt here: " + err.Error(),
				"the hosts must have certificates of one authority: " + want.remedy}
		}
	}
	return finding{fine, about, "of the authority in ca.crt", ""}
}

func judgeName(about string, leaf *x509.Certificate, want expected) finding {
	about += ", name"
	var names []string
	if want.program != "" {
		id := transport.ID(want.program).String()
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id {
			return finding{wrong, about, fmt.Sprintf("it is that of %v, and should be that of %s", leaf.URIs, id),
				"have the certificate of " + want.program + " there: " + want.remedy}
		}
		// The data tier and the broker go by the common name.
		if leaf.Subject.CommonName != want.program {
			return finding{wrong, about, fmt.Sprintf("its common name is %q, and should be %q", leaf.Subject.CommonName, want.program), want.remedy}
		}
		names = append(names, id)
	}
	for _, host := range want.hosts {
		if leaf.VerifyHostname(host) != nil {
			return finding{wrong, about, fmt.Sprintf("it does not name %s; it names %s", host, strings.Join(namesOf(leaf), ", ")),
				"have it name the host under which it is reached, with -hosts: " + want.remedy}
		}
		names = append(names, host)
	}
	return finding{fine, about, "names " + strings.Join(names, ", "), ""}
}

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

func judgeDates(about string, c *x509.Certificate, remedy string) finding {
	about += ", dates"
	const day = "2006-01-02 15:04 MST"
	now := time.Now()
	switch {
	case now.Before(c.NotBefore):
		return finding{wrong, about, "not valid before " + c.NotBefore.UTC().Format(day) + "; here it is " + now.UTC().Format(day),
			"set this host's clock (NTP: timedatectl set-ntp true); if it is right, that of the machine that made the certificate was not: " + remedy}
	case now.After(c.NotAfter):
		return finding{wrong, about, "it ended on " + c.NotAfter.UTC().Format(day), remedy}
	case now.Add(renewBefore).After(c.NotAfter):
		return finding{wrong, about, fmt.Sprintf("it ends on %s, in %d days", c.NotAfter.UTC().Format(day), int(c.NotAfter.Sub(now).Hours()/24)), remedy}
	}
	return finding{fine, about, "valid until " + c.NotAfter.UTC().Format(day), ""}
}
