package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// TrustDomain is the authority of every SPIFFE ID in the system
// (SPIFFE-ID specification, section 2.1).
const TrustDomain = "techtalks.example"

// The programs that speak to each other: the path of their SPIFFE ID and the
// stem of their certificate's file name.
const (
	WebTier   = "web-tier"
	LogicTier = "logic-tier"
	Operator  = "operator"
)

// ID returns the SPIFFE ID of a program: "spiffe://techtalks.example/<program>".
func ID(program string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: TrustDomain, Path: "/" + program}
}

// errNoIdentity is what a peer hears whose certificate our authority signed but
// which names no program: without it, any leaf would pass for any program.
var errNoIdentity = errors.New("the certificate names no program: it needs exactly one URI SAN, spiffe://" + TrustDomain + "/<program>")

// program returns the program that a certificate was made for. The X.509-SVID
// standard (section 2) asks for exactly one URI SAN.
func program(leaf *x509.Certificate) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", errNoIdentity
	}
	id := leaf.URIs[0]
	if id.Scheme != "spiffe" || id.Host != TrustDomain || len(id.Path) < 2 {
		return "", fmt.Errorf("%w, not %q", errNoIdentity, id)
	}
	return id.Path[1:], nil
}

// PeerProgram returns the program at the other end of a call's connection, and
// false when the connection proves none (one that is not mTLS).
func PeerProgram(ctx context.Context) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", false
	}
	name, err := program(info.State.VerifiedChains[0][0])
	return name, err == nil
}
