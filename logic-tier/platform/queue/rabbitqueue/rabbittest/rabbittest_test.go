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

// certificatesVariable makes the test program start a node with the certificates that
// it names, and panic.
const certificatesVariable = "RABBITTEST_DYING"

const panicMessage = "panic of the test program"

func TestMain(m *testing.M) { postgrestest.Main(m) }

// processesUsing returns the command lines of the processes whose arguments or
// environment contain a directory.
func processesUsing(t *testing.T, directory string) (commands []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		// Errors are ignored: the process can have exited.
		command, _ := os.ReadFile(path)
		environment, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if strings.Contains(string(command)+string(environment), directory) {
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands
}

func TestNodeIsRemovedWhenTestProgramPanics(t *testing.T) {
	if certificates := os.Getenv(certificatesVariable); certificates != "" {
		rabbittest.New(t, certificates)
		panic(panicMessage)
	}
	certificates := postgrestest.New(t).Options("queue").Certificates
	command := exec.Command(os.Args[0], "-test.run", t.Name())
	directory := t.TempDir()
	command.Env = append(os.Environ(), certificatesVariable+"="+certificates, "TMPDIR="+directory)
	if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), panicMessage) {
		t.Fatalf("got error %v, want a panic of the test program\n%s", err, output)
	}
	var remaining []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(directory, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if remaining = append(processesUsing(t, directory), files...); len(remaining) == 0 {
			return
		}
	}
	t.Errorf("got processes and files %v after the test program exited, want none", remaining)
}

func TestBrokersShareNodeButNotVirtualHost(t *testing.T) {
	certificates := postgrestest.New(t).Options("queue").Certificates
	first, second := rabbittest.New(t, certificates), rabbittest.New(t, certificates)
	if first.URL() == second.URL() {
		t.Errorf("got the same URL %s for two brokers", first.URL())
	}
	first.SetAlarm(true)
	if alarms := second.Evaluate("rabbit_alarm:get_alarms()"); !strings.Contains(alarms, "memory") {
		t.Errorf("got alarms %s, want one of memory", alarms)
	}
	first.SetAlarm(false)
	first.Kill()
	first.Start()
	if alarms := second.Evaluate("rabbit_alarm:get_alarms()"); alarms != "[]" {
		t.Errorf("got alarms %s after a restart, want none", alarms)
	}
}
