package images

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/journey"
)

// host returns the project of one of the three hosts, each of which has its own compose file.
func host(t *testing.T, file string, settings ...string) *project {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "hosts", file))
	if err != nil {
		t.Fatal(err)
	}
	return &project{t: t, options: []string{"-f", path}, environment: append(os.Environ(), settings...)}
}

// Compose names each required setting that is missing, with an example.
func TestHostNamesMissingSettings(t *testing.T) {
	requireDocker(t)
	for file, c := range map[string]struct{ settings, want string }{
		"data.yml":  {"CERTIFICATES=/certificates", "as in DATA_HOST=data.example.net"},
		"logic.yml": {"CERTIFICATES=/certificates", "as in DATA_ADDRESS=data.example.net:5432"},
		"web.yml":   {"CERTIFICATES=/certificates", "or LOGIC_ADDRESS=dns:///logic.example.net:9090"},
	} {
		if output, err := host(t, file, c.settings).try("config"); err == nil || !strings.Contains(output, c.want) {
			t.Errorf("%s: %v\n%s", file, err, output)
		}
		if output, err := host(t, file, "DATA_HOST=d", "DATA_ADDRESS=d:5432", "LOGIC_ADDRESS=l:9090").try("config"); err == nil || !strings.Contains(output, "the folder of this host's certificates") {
			t.Errorf("%s without certificates: %v\n%s", file, err, output)
		}
	}
}

// Without .env no logic tier would start, so that Compose reports an error instead.
func TestComposeRejectsMissingEnvFile(t *testing.T) {
	requireDocker(t)
	for _, settings := range [][]string{nil, {"COMPOSE_PROFILES="}} {
		p := &project{t: t, options: []string{"--env-file", os.DevNull}, environment: append(os.Environ(), settings...)}
		for _, command := range []string{"config", "up"} {
			if output, err := p.try(command); err == nil || !strings.Contains(output, ".env of the repository is missing") || !strings.Contains(output, "as in COMPOSE_PROFILES=postgres") {
				t.Errorf("%s with %q: %v\n%s", command, settings, err, output)
			}
		}
	}
}

// externalAddress returns an IPv4 address of this machine that other hosts can reach.
func externalAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has only loopback addresses")
	return ""
}

// Each tier runs from its own compose file, as on three hosts that only know each other's
// addresses.
func TestJourneyAcrossThreeHosts(t *testing.T) {
	requireDocker(t)
	(&project{t: t, environment: os.Environ()}).compose("build", "data-tier", "logic-tier", "web-tier")
	// Containers reach the published ports at this address.
	here := externalAddress(t)
	folder, err := os.MkdirTemp("", "techtalks-hosts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := certificates.Issue(filepath.Join(folder, "authority"), []string{here}); err != nil {
		t.Fatal(err)
	}
	for program, uid := range map[string]int{"data-tier": 999, "logic-tier": 65532, "web-tier": 65532} {
		if err := certificates.Deliver(filepath.Join(folder, "authority"), program, filepath.Join(folder, program), uid); err != nil {
			t.Fatal(err)
		}
	}
	data, logic, web := freePort(t), freePort(t), freePort(t)
	for _, h := range []*project{
		host(t, "data.yml", "COMPOSE_PROJECT_NAME=techtalks-test-data", "CERTIFICATES="+filepath.Join(folder, "data-tier"), "DATA_HOST="+here, "DATA_PORT="+data),
		host(t, "logic.yml", "COMPOSE_PROJECT_NAME=techtalks-test-logic", "CERTIFICATES="+filepath.Join(folder, "logic-tier"), "DATA_ADDRESS="+here+":"+data, "LOGIC_PORT="+logic),
		host(t, "web.yml", "COMPOSE_PROJECT_NAME=techtalks-test-web", "CERTIFICATES="+filepath.Join(folder, "web-tier"), "LOGIC_ADDRESS="+here+":"+logic, "WEB_PORT="+web, "WEB_ADMIN_PORT="+freePort(t)),
	} {
		t.Cleanup(func() {
			if t.Failed() {
				output, _ := h.try("logs", "--tail", "30")
				t.Log(output)
			}
			h.compose("down", "--volumes", "--remove-orphans")
		})
		h.compose("up", "--detach")
	}
	site := "http://127.0.0.1:" + web
	await(t, site+"/talks")
	journey.Walk(t, journey.Chromium(t), site)
}
