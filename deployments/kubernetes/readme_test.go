package kubernetes

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// README.md requires the versions that the manifests were validated with.
func TestReadmeNamesTestedVersions(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, module := range map[string]published{
		"cert-manager": certManager, "CloudNativePG": cloudNativePG, "Gateway API": gatewayAPI,
		"RabbitMQ cluster operator": rabbitMQ, "Barman Cloud plugin": barmanCloud,
	} {
		row := regexp.MustCompile(`(?m)^\| \[` + regexp.QuoteMeta(name) + `\].*\| ` + regexp.QuoteMeta(strings.TrimPrefix(module.version, "v")) + ` \|`)
		if !row.Match(text) {
			t.Errorf("README.md does not require %s %s", name, module.version)
		}
	}
}
