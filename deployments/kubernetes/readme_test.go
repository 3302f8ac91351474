package kubernetes

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What README.md asks for is what the manifests were judged by.
func TestReadmeNamesTheVersions(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]published{
		"cert-manager": certManager, "CloudNativePG": cloudNativePG, "Gateway API": gatewayAPI,
		"RabbitMQ cluster operator": rabbitMQ, "Barman Cloud plugin": barmanCloud,
	} {
		row := regexp.MustCompile(`(?m)^\| \[` + regexp.QuoteMeta(name) + `\].*\| ` + regexp.QuoteMeta(strings.TrimPrefix(of.version, "v")) + ` \|`)
		if !row.Match(text) {
			t.Errorf("README.md does not ask for %s %s", name, of.version)
		}
	}
}
