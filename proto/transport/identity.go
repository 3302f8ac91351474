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

// The programs that call each other. The name is the path of the program's SPIFFE ID and the
// base name of its certificate file.
const (
	WebTier   = "web-tier"
	LogicTier = "logic-tier"
	Operator  = "operator"
)

// ID returns the SPIFFE ID of a program: "spiffe://techtalks.example/<program>".
func ID(program string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: TrustDomain, Path: "/" + program}
}

// errNoIdentity rejects a peer whose certificate is signed by our authority but identifies no
// program. Without this check any leaf certificate would pass for any program.
var errNoIdentity = errors.New("the certificate identifies no program: it needs exactly one URI SAN, spiffe://" + TrustDomain + "/<program>")

// program returns the program that a certificate was issued to. The X.509-SVID standard
// (section 2) requires exactly one URI SAN.
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

// PeerProgram returns the program that a call's peer authenticated as. It reports false if
// the connection does not use mTLS.
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
