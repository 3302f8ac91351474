package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

var issuedPrograms = regexp.MustCompile(`\{"([a-z-]+)", (true|false)\}`)

// cert-manager issues what deployments/certificates issues: of each program a
// certificate with its name, its SPIFFE ID and nothing that makes it another's.
func TestCertificatesAreThoseOfThePrograms(t *testing.T) {
	source, err := os.ReadFile("../certificates/certificates.go")
	if err != nil {
		t.Fatal(err)
	}
	programs := issuedPrograms.FindAllStringSubmatch(string(source), -1)
	if len(programs) < 5 {
		t.Fatalf("found %v", programs)
	}
	made := build(t, "overlays/rabbitmq")
	for _, program := range programs {
		name, server := program[1], program[2] == "true"
		certificate := made.named("Certificate", name)
		if certificate == nil {
			t.Errorf("%s has no certificate", name)
			continue
		}
		spec := func(steps ...string) []string {
			return paths(certificate.Object, append([]string{"spec"}, steps...)...)
		}
		if got := spec("uris", "*"); !slices.Equal(got, []string{"spiffe://techtalks.example/" + name}) {
			t.Errorf("%s: is known as %v", name, got)
		}
		if got := spec("commonName"); !slices.Equal(got, []string{name}) {
			t.Errorf("%s: its common name is %v", name, got)
		}
		usages := spec("usages", "*")
		if !slices.Contains(usages, "client auth") || slices.Contains(usages, "server auth") != server {
			t.Errorf("%s: may be used for %v", name, usages)
		}
		if server && !slices.Contains(spec("dnsNames", "*"), name) {
			t.Errorf("%s: is not found under its own name", name)
		}
		if got := spec("issuerRef", "name"); !slices.Equal(got, []string{"authority"}) {
			t.Errorf("%s: issued by %v", name, got)
		}
		if got := spec("secretName"); !slices.Equal(got, []string{name + "-certificate"}) {
			t.Errorf("%s: kept in %v", name, got)
		}
	}
}
