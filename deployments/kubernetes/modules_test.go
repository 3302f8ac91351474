package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// published is an upstream Go module that defines kinds used here, at the version that
// README.md requires. The tests read its files without compiling it, so it is not in go.mod,
// where its requirements would count; its checksum is here instead of in go.sum.
type published struct{ module, version, sum string }

var (
	cloudNativePG = published{"github.com/cloudnative-pg/cloudnative-pg", "v1.30.1", "h1:d1jxp0jQi7/3zrEhsv9ycD+G5ssmkNvDvTmogaGccCw="}
	barmanCloud   = published{"github.com/cloudnative-pg/plugin-barman-cloud", "v0.15.0", "h1:gNVytrzzYUE08wxLDrjfJqy1FPPSFkMe1OEr4s4pVI0="}
	rabbitMQ      = published{"github.com/rabbitmq/cluster-operator/v2", "v2.20.0", "h1:9RAb5Gj9kz/eIgpRwUMwOKXLMXdn3O5dJ2Gjw6pj21k="}
	certManager   = published{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68="}
	gatewayAPI    = published{"sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="}
)

var downloads sync.Map // published -> func() (string, error)

// folder returns the folder of the module's files, and downloads the module if necessary.
func (p published) folder(t *testing.T) string {
	t.Helper()
	once, _ := downloads.LoadOrStore(p, sync.OnceValues(func() (string, error) {
		command := exec.Command("go", "mod", "download", "-json", p.module+"@"+p.version)
		command.Stderr = os.Stderr
		output, err := command.Output()
		if err != nil {
			return "", err
		}
		var found struct{ Dir, Sum string }
		if err := json.Unmarshal(output, &found); err != nil {
			return "", err
		}
		if found.Sum != p.sum {
			return "", fmt.Errorf("checksum mismatch: got %s, want %s", found.Sum, p.sum)
		}
		return found.Dir, nil
	}))
	folder, err := once.(func() (string, error))()
	if err != nil {
		t.Fatalf("%s@%s: %v", p.module, p.version, err)
	}
	return folder
}

// file returns the text of a file of the module.
func (p published) file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.folder(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
