package images

import (
	"os/exec"
	"testing"
	"time"
)

// kills is the number of times that the test kills the data tier: a single start can succeed by
// chance.
const kills = 20

// A container's processes get the same IDs at every start, so that the process ID in the lock
// file of the killed Postgres is soon that of another process.
func TestDataTierContainerRestartsAfterEveryKill(t *testing.T) {
	p := prepare(t, []string{"certificates", "data-tier"})
	p.compose("up", "--detach", "data-tier")
	container := p.container("data-tier")
	awaitHealthy := func() {
		t.Helper()
		for deadline := time.Now().Add(maxWait); ; time.Sleep(100 * time.Millisecond) {
			output, err := exec.Command("docker", "exec", container, "data-tier", "health").CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the data tier is not healthy: %v: %s\n%s", err, output, docker(t, "logs", "--tail", "20", container))
			}
		}
		// The restart policy would hide a failed start.
		if restarts := docker(t, "inspect", "--format", "{{.RestartCount}}", container); restarts != "0" {
			t.Fatalf("restarts: got %s, want 0\n%s", restarts, docker(t, "logs", "--tail", "60", container))
		}
	}
	awaitHealthy()
	for range kills {
		docker(t, "kill", "--signal", "KILL", container)
		docker(t, "start", container)
		awaitHealthy()
	}
}
