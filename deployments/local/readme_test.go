package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// blocks are the README's commands.
func blocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	return found
}

// The README's commands for operators do, as printed, what it says.
func TestTheReadmesCommandsWork(t *testing.T) {
	r := localtest.Up(t, localtest.Folder(t))
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, block := range blocks(t) {
		if strings.Contains(block, "logic ") || strings.Contains(block, "talksctl") || strings.Contains(block, "curl ") {
			script.WriteString(block)
		}
	}
	// This site's places, and no need to wait for somebody who publishes. Two
	// calls end with an error: that of the deadline, and a refusal.
	text := strings.NewReplacer(
		".run/", r.Run+"/", "127.0.0.1:9090", r.Logic, "http://127.0.0.1:8080", r.URL, "-max-time 10", "-max-time 2",
		"StreamNotifications\n", "StreamNotifications || true\n", "Accounts/SignUp\n", "Accounts/SignUp || true\n",
	).Replace(script.String())
	ctx, done := context.WithTimeout(t.Context(), 5*time.Minute)
	defer done()
	bin := t.TempDir()
	shell := exec.CommandContext(ctx, "bash", "-c", text)
	shell.Dir = "../.."
	shell.Env = append(os.Environ(), "GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"), "LOGIC_ADDRESS="+r.Logic, "RUN_DIR="+r.Run)
	output, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, output)
	}
	for _, want := range []string{
		"techtalks.talks.v1.Talks\n",                     // list
		"rpc ListTalks",                                  // describe
		`"status": "SERVING"`,                            // health
		"Software architecture and communication design", // search
		`"notifications": [`,                             // her inbox, or that it is empty
		`"subscribed": {`,                                // stream
		`"field": "handle"`, `"field": "password"`,       // refusal
		"0 channels and 0 talks added",                                                     // import
		`"done":`,                                                                          // short poll and long poll
		"event: operation\n",                                                               // stream
		`"cursor":`,                                                                        // the inbox, polled
		`"operations": [`,                                                                  // hers, listed
		"operations/",                                                                      // the operator's list
		"test.direct ─ blue → test.blue", "delivery 3 acknowledged", "delivery 1 rejected", // test messages
		"the test message asks to be rejected", // the dead letter
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
}

// What the README names is there.
func TestTheReadmesPathsExist(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:web-tier|logic-tier|data-tier|proto|deployments)/[^` ]*)`|\\]\\(([^)h][^)]*)\\)").FindAllStringSubmatch(string(text), -1)
	if len(paths) < 10 {
		t.Errorf("only %d paths were found: the pattern no longer fits the README", len(paths))
	}
	for _, match := range paths {
		path := match[1] + match[2]
		found, err := os.Stat("../../" + path)
		if strings.Contains(path, "*") {
			continue
		}
		if err != nil || found == nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
