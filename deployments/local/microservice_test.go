package main

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// The three commands of logic-tier/README.md take a module out into a process of its own, and what people
// do is the same.
func TestAModuleIsTakenOut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	chromium := journey.Chromium(t)
	r := localtest.Up(t, localtest.Folder(t))
	var text string
	for _, block := range commands(t, "logic-tier/README.md") {
		if strings.Contains(block, "--modules notifications") {
			text = block
		}
	}
	if strings.Count(text, " serve ") != 3 {
		t.Fatalf("logic-tier/README.md takes a module out with\n%s", text)
	}
	web := localtest.Free(t)
	text = strings.NewReplacer(
		".run/", r.Run+"/", "127.0.0.1:9290", localtest.Free(t), "127.0.0.1:9291", localtest.Free(t), "127.0.0.1:9390", localtest.Free(t), "127.0.0.1:9391", localtest.Free(t),
		"127.0.0.1:8280", web, "127.0.0.1:8281", localtest.Free(t),
	).Replace(text)
	shell := exec.Command("bash", "-c", text)
	shell.Env = append(os.Environ(), "DATA_ADDRESS="+r.Data, "SCRATCH="+t.TempDir())
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	shell.Stdout, shell.Stderr = &said, &said
	shell.WaitDelay = time.Minute
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
		_ = shell.Wait() // ended by the signal
		if t.Failed() {
			lines := strings.Split(said.String(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	r.Until("the site with a module apart answers", func() bool {
		response, err := http.Get("http://" + web + "/talks")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	journey.Walk(t, chromium, "http://"+web)
}
