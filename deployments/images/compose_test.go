// Package images tests the images: the whole site in containers.
package images

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"techtalks.example/deployments/freeaddress"
	"techtalks.example/deployments/journey"
)

// patience bounds every wait for the site; images are built before it starts.
const patience = 2 * time.Minute

// project is a site in containers, with its own project name.
type project struct {
	t           *testing.T
	options     []string // options of compose itself
	environment []string
	web         string
}

func (p *project) try(arguments ...string) (string, error) {
	command := exec.Command("./compose.sh", slices.Concat(p.options, arguments)...)
	command.Env = p.environment
	output, err := command.CombinedOutput()
	return string(output), err
}

func (p *project) compose(arguments ...string) string {
	p.t.Helper()
	output, err := p.try(arguments...)
	if err != nil {
		p.t.Fatalf("compose %s: %v\n%s", strings.Join(arguments, " "), err, last(output))
	}
	return output
}

func last(output string) string {
	lines := strings.Split(output, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

func docker(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := exec.Command("docker", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

func freePort(t *testing.T) string {
	t.Helper()
	address, err := freeaddress.Find()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// up starts the site and waits until it answers with the catalogue in it.
func up(t *testing.T, options ...string) *project {
	t.Helper()
	p := prepare(t, nil, options...)
	p.compose("up", "--detach")
	await(t, p.web+"/channels/adas-notebook")
	return p
}

// prepare builds the images of some services, or of all if none are named, and removes their
// containers when the test ends.
func prepare(t *testing.T, services []string, options ...string) *project {
	t.Helper()
	engine(t)
	port := freePort(t)
	p := &project{t: t, options: options, web: "http://127.0.0.1:" + port, environment: append(os.Environ(),
		"COMPOSE_PROJECT_NAME=techtalks-test", "DEMO=true", "WEB_PORT="+port, "LOGIC_PORT="+freePort(t))}
	p.compose(append([]string{"build"}, services...)...)
	t.Cleanup(func() {
		if t.Failed() {
			output, _ := p.try("logs", "--tail", "30")
			t.Log(output)
		}
		p.compose("down", "--volumes", "--remove-orphans")
	})
	return p
}

// engine skips the test if no Docker engine answers.
func engine(t *testing.T) {
	t.Helper()
	if output, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		t.Skipf("no Docker engine answers: %s", output)
	}
}

// await waits until a page responds with 200 OK.
func await(t *testing.T, page string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		response, err := http.Get(page)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the site does not answer: %v", err)
		}
	}
}

func TestJourneyInContainers(t *testing.T) {
	p := up(t)
	t.Run("networks", func(t *testing.T) {
		postgres := p.address("data-tier") + ":5432"
		p.dials(t, []dial{{"logic-tier", postgres, true}, {"web-tier", postgres, false}})
	})
	t.Run("backup", func(t *testing.T) {
		if output := p.compose("exec", "-T", "data-tier", "data-tier", "backup"); !strings.Contains(output, "backup /backups/") {
			t.Errorf("got output %q, want the path of a backup", output)
		}
	})
	t.Run("no broker", func(t *testing.T) {
		if running := p.compose("ps", "--services"); strings.Contains(running, "broker") || strings.Contains(running, "rabbitmq") {
			t.Errorf("got services\n%s\nwant no broker", running)
		}
	})
	t.Run("published", func(t *testing.T) {
		if ports := docker(t, "port", p.container("data-tier")); ports != "" {
			t.Errorf("Postgres is published: %s", ports)
		}
		if ports := docker(t, "port", p.container("logic-tier")); !strings.HasPrefix(ports, "9090/tcp -> 127.0.0.1:") || strings.Contains(ports, "\n") {
			t.Errorf("got published ports %s of the logic tier, want 9090 on loopback only", ports)
		}
	})
	chromium := journey.Chromium(t)
	for name, walk := range map[string]func(*testing.T, context.Context, string){
		"a talk reaches a follower":   journey.Walk,
		"browsing without an account": journey.Browse,
		"without JavaScript":          journey.WithoutScripts,
		"long work":                   journey.LongWork,
	} {
		t.Run(name, func(t *testing.T) { walk(t, chromium, p.web) })
	}
}

func (p *project) container(service string) string {
	p.t.Helper()
	id := p.compose("ps", "--quiet", service)
	lines := strings.Fields(id)
	if len(lines) == 0 {
		p.t.Fatalf("no container of %s", service)
	}
	return lines[len(lines)-1]
}

// The same site with the queue in RabbitMQ.
func TestJourneyInContainersWithRabbitMQ(t *testing.T) {
	p := up(t, "--profile", "rabbitmq")
	t.Run("networks", func(t *testing.T) {
		broker := p.address("broker")
		p.dials(t, []dial{
			{"logic-tier-rabbitmq", broker + ":5671", true}, {"web-tier", broker + ":5671", false}, {"data-tier", broker + ":5671", false},
			// AMQP without TLS, epmd, and Erlang distribution.
			{"logic-tier-rabbitmq", broker + ":5672", false}, {"logic-tier-rabbitmq", broker + ":4369", false}, {"logic-tier-rabbitmq", broker + ":25672", false},
		})
		if ports := docker(t, "port", p.container("broker")); ports != "" {
			t.Errorf("the broker is published: %s", ports)
		}
	})
	t.Run("engine", func(t *testing.T) {
		if running := strings.Fields(p.compose("ps", "--services")); slices.Contains(running, "logic-tier") {
			t.Errorf("got services %v, want no logic-tier", running)
		}
		if users := p.compose("exec", "-T", "broker", "rabbitmqctl", "--silent", "list_connections", "user"); !strings.Contains(users, "logic-tier") {
			t.Errorf("got users %q of the broker, want logic-tier", users)
		}
	})
	t.Run("a talk reaches a follower", func(t *testing.T) { journey.Walk(t, journey.Chromium(t), p.web) })
}

func (p *project) address(service string) string {
	p.t.Helper()
	return docker(p.t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", p.container(service))
}

// dial is a connection attempt from the network of a service, and whether it must succeed.
type dial struct {
	service, address string
	reaches          bool
}

func (p *project) dials(t *testing.T, all []dial) {
	t.Helper()
	folder, err := os.MkdirTemp("", "techtalks-dial-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(folder, "dial"), "./dial")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	containers := map[string]string{}
	for _, d := range all {
		if containers[d.service] == "" {
			containers[d.service] = p.container(d.service)
		}
	}
	// Concurrently: each attempt without an answer waits for a timeout.
	var dialling sync.WaitGroup
	defer dialling.Wait()
	for _, d := range all {
		dialling.Go(func() {
			output, err := exec.Command("docker", "run", "--rm", "--network", "container:"+containers[d.service],
				"--volume", folder+":/probe:ro", "techtalks/operator", "/probe/dial", d.address).CombinedOutput()
			if d.reaches && err != nil || !d.reaches && (err == nil || !strings.Contains(string(output), "not reached")) {
				t.Errorf("%s from %s: %v\n%s", d.address, d.service, err, output)
			}
		})
	}
}
