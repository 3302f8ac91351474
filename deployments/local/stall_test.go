package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// postgresProcesses returns the process IDs of the site's Postgres, whose working directory is
// the data directory.
func postgresProcesses(t *testing.T, site *localtest.Site) (found []int) {
	t.Helper()
	data, err := os.Stat(filepath.Join(site.Run, "data"))
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err != nil || !os.SameFile(info, data) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(folder, "/proc/%d/cwd", &pid); err != nil {
			t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// A frozen tier neither refuses nor answers calls: each call uses up the budget of its page.
func TestStalledTierGetsErrorPageThatRetries(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	site := localtest.Up(t, localtest.Folder(t))
	chromium := journey.Chromium(t)
	for name, processes := range map[string][]int{
		"logic tier": site.PIDs("logic-tier"),
		"Postgres":   postgresProcesses(t, site),
	} {
		t.Run(name, func(t *testing.T) {
			if len(processes) == 0 {
				t.Fatal("no process found")
			}
			resume := func() {
				for _, pid := range processes {
					_ = syscall.Kill(pid, syscall.SIGCONT) // a Postgres worker may have exited
				}
			}
			t.Cleanup(resume)
			for _, pid := range processes {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
			// No client has requested this page before, so the web tier has no stale copy of it.
			word := strings.ToLower(strings.ReplaceAll(name, " ", "-"))
			tab := journey.Browser(t, chromium, site.URL)
			if status := tab.Open("/talks?q=" + word); status != http.StatusGatewayTimeout && status != http.StatusServiceUnavailable {
				t.Errorf("status: got %d, want 503 or 504", status)
			}
			tab.WaitUntil(`document.querySelector(".problem .hint")?.textContent.includes("reloads automatically")`)
			for _, look := range []struct {
				name  string
				width int64
				dark  bool
			}{{"light", 1440, false}, {"dark", 1440, true}, {"phone", 390, false}} {
				tab.SetAppearance(look.width, look.dark)
				tab.WaitUntil(`document.documentElement.scrollWidth <= innerWidth`)
				tab.Screenshot("stalled-" + word + "-" + look.name)
			}
			resume()
			tab.WaitUntil(`document.querySelector("main h1")?.textContent.includes("Talks about")`)
		})
	}
}
