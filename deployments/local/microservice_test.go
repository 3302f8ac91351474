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

// The three commands of logic-tier/README.md run one module as its own process. The site must
// behave as before.
func TestModuleRunsAsItsOwnProcess(t *testing.T) {
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
		t.Fatalf("logic-tier/README.md runs a module as its own process with\n%s\nwant three serve commands", text)
	}
	web := localtest.FreeAddress(t)
	text = strings.NewReplacer(
		".run/", r.Run+"/", "127.0.0.1:9290", localtest.FreeAddress(t), "127.0.0.1:9291", localtest.FreeAddress(t), "127.0.0.1:9390", localtest.FreeAddress(t), "127.0.0.1:9391", localtest.FreeAddress(t),
		"127.0.0.1:8280", web, "127.0.0.1:8281", localtest.FreeAddress(t),
	).Replace(text)
	shell := exec.Command("bash", "-c", text)
	shell.Env = append(os.Environ(), "DATA_ADDRESS="+r.Data, "SCRATCH="+t.TempDir())
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output strings.Builder
	shell.Stdout, shell.Stderr = &output, &output
	shell.WaitDelay = time.Minute
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
		_ = shell.Wait() // the signal is its error
		if t.Failed() {
			lines := strings.Split(output.String(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	r.Until("the site with the separate module answers", func() bool {
		response, err := http.Get("http://" + web + "/talks")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	journey.Walk(t, chromium, "http://"+web)
}
