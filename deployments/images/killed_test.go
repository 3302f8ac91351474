package images

import (
	"os/exec"
	"testing"
	"time"
)

// kills is how often the data tier is killed: each restart could fail by chance.
const kills = 20

// The few processes of a container get the same ids at every start, so that another process
// soon has an id from a lock file of the killed Postgres.
func TestDataTierContainerRestartsAfterEveryKill(t *testing.T) {
	p := prepare(t, []string{"certificates", "data-tier"})
	p.compose("up", "--detach", "data-tier")
	container := p.container("data-tier")
	healthy := func() {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			output, err := exec.Command("docker", "exec", container, "data-tier", "health").CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the data tier is not healthy: %v: %s\n%s", err, output, docker(t, "logs", "--tail", "20", container))
			}
		}
		// The restart policy repeats a failed start.
		if restarts := docker(t, "inspect", "--format", "{{.RestartCount}}", container); restarts != "0" {
			t.Fatalf("got %s restarts, want 0\n%s", restarts, docker(t, "logs", "--tail", "60", container))
		}
	}
	healthy()
	for range kills {
		docker(t, "kill", "--signal", "KILL", container)
		docker(t, "start", container)
		healthy()
	}
}
