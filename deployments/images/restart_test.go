package images

import (
	"os/exec"
	"testing"
	"time"
)

// kills is how often the data tier is killed: each start after one could fail by chance.
const kills = 20

// The few processes of a container get the same numbers at every start, so that a number
// in a lock file of the killed Postgres is soon that of another process.
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
		// A start that failed was repeated by the restart policy.
		if restarts := docker(t, "inspect", "--format", "{{.RestartCount}}", container); restarts != "0" {
			t.Fatalf("it took %s more starts\n%s", restarts, docker(t, "logs", "--tail", "60", container))
		}
	}
	healthy()
	for range kills {
		docker(t, "kill", "--signal", "KILL", container)
		docker(t, "start", container)
		healthy()
	}
}
