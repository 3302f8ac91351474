package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

var issuedPrograms = regexp.MustCompile(`\{"([a-z-]+)", (true|false)\}`)

// cert-manager issues the same certificates as deployments/certificates: one for each
// program, with its name and SPIFFE ID only.
func TestCertificatesMatchPrograms(t *testing.T) {
	source, err := os.ReadFile("../certificates/certificates.go")
	if err != nil {
		t.Fatal(err)
	}
	programs := issuedPrograms.FindAllStringSubmatch(string(source), -1)
	if len(programs) < 5 {
		t.Fatalf("got programs %v, want at least 5", programs)
	}
	objects := build(t, "overlays/rabbitmq")
	for _, program := range programs {
		name, server := program[1], program[2] == "true"
		certificate := objects.named("Certificate", name)
		if certificate == nil {
			t.Errorf("%s has no certificate", name)
			continue
		}
		spec := func(steps ...string) []string {
			return paths(certificate.Object, append([]string{"spec"}, steps...)...)
		}
		if got := spec("uris", "*"); !slices.Equal(got, []string{"spiffe://techtalks.example/" + name}) {
			t.Errorf("%s: got URIs %v", name, got)
		}
		if got := spec("commonName"); !slices.Equal(got, []string{name}) {
			t.Errorf("%s: got common name %v", name, got)
		}
		usages := spec("usages", "*")
		if !slices.Contains(usages, "client auth") || slices.Contains(usages, "server auth") != server {
			t.Errorf("%s: got usages %v", name, usages)
		}
		if server && !slices.Contains(spec("dnsNames", "*"), name) {
			t.Errorf("%s: the DNS names lack its own name", name)
		}
		if got := spec("issuerRef", "name"); !slices.Equal(got, []string{"authority"}) {
			t.Errorf("%s: got issuer %v", name, got)
		}
		if got := spec("secretName"); !slices.Equal(got, []string{name + "-certificate"}) {
			t.Errorf("%s: got secret %v", name, got)
		}
	}
}
