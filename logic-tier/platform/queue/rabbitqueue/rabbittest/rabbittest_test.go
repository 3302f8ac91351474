package rabbittest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue/rabbittest"
)

// dyingSetting has the test program start a node and end without a word.
const dyingSetting = "RABBITTEST_DYING"

func TestMain(m *testing.M) { postgrestest.Main(m) }

// processes are the command lines of those that have to do with a folder.
func processes(t *testing.T, folder string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		// One that has ended meanwhile has none.
		text, _ := os.ReadFile(path)
		environment, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if strings.Contains(string(text)+string(environment), folder) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

// However the tests end, nothing is left of the node.
func TestTheNodeEndsWithTheTests(t *testing.T) {
	if certificates := os.Getenv(dyingSetting); certificates != "" {
		rabbittest.New(t, certificates)
		panic("as a test may")
	}
	certificates := postgrestest.New(t).Options("queue").Certificates
	command := exec.Command(os.Args[0], "-test.run", t.Name())
	temporary := t.TempDir()
	command.Env = append(os.Environ(), dyingSetting+"="+certificates, "TMPDIR="+temporary)
	if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "as a test may") {
		t.Fatalf("it did not die: %v\n%s", err, output)
	}
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		folders, err := filepath.Glob(filepath.Join(temporary, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if left = append(processes(t, temporary), folders...); len(left) == 0 {
			return
		}
	}
	t.Errorf("left are %v", left)
}

func TestAVirtualHostIsATestsOwn(t *testing.T) {
	certificates := postgrestest.New(t).Options("queue").Certificates
	first, second := rabbittest.New(t, certificates), rabbittest.New(t, certificates)
	if first.URL() == second.URL() {
		t.Errorf("both have %s", first.URL())
	}
	first.SetAlarm(true)
	if said := second.Evaluate("rabbit_alarm:get_alarms()"); !strings.Contains(said, "memory") {
		t.Errorf("there is no alarm: %s", said)
	}
	first.SetAlarm(false)
	first.Kill()
	first.Start()
	if said := second.Evaluate("rabbit_alarm:get_alarms()"); said != "[]" {
		t.Errorf("there are alarms: %s", said)
	}
}
