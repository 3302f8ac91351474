package main

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

func TestIsDemo(t *testing.T) {
	for _, c := range []struct {
		setting, web string
		want         bool
	}{
		{"", "127.0.0.1:8080", true},
		{"", "[::1]:8080", true},
		{"", "localhost:8080", true},
		{"", "0.0.0.0:8080", false},
		{"", ":8080", false},
		{"", "192.0.2.1:8080", false},
		{"", "techtalks.example:80", false},
		{"true", "0.0.0.0:8080", true},
		{"false", "127.0.0.1:8080", false},
	} {
		if got, err := isDemo(c.setting, c.web); err != nil || got != c.want {
			t.Errorf("DEMO=%q at %s: %t, %v; want %t", c.setting, c.web, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{"perhaps", "127.0.0.1:8080"}, {"", "8080"}} {
		if _, err := isDemo(c[0], c[1]); err == nil {
			t.Errorf("DEMO=%q at %s: no error", c[0], c[1])
		}
	}
}

// demoButton matches a form on the sign-in page of a demo site.
var demoButton = regexp.MustCompile(`name="handle" value="([a-z-]+)">\s*<input type="hidden" name="password" value="([a-z-]+)"`)

func signInStatus(t *testing.T, site, handle, password string) int {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(site+"/sign-in", url.Values{"handle": {handle}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func demoButtons(t *testing.T, site string) [][]string {
	t.Helper()
	response, err := http.Get(site + "/sign-in")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return demoButton.FindAllStringSubmatch(string(text), -1)
}

// Only a demo site has the accounts with published passwords. A site that is not a demo does
// not start if its database contains them.
func TestDemoAccountsExistOnlyOnDemoSite(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	run := localtest.Folder(t)
	plain := localtest.Up(t, run, "DEMO=false")
	if found := demoButtons(t, plain.URL); len(found) > 0 {
		t.Errorf("demo buttons without a demo: got %q, want none", found)
	}
	for handle, password := range map[string]string{"ada": "ada-ada-ada", "grace": "grace-grace-grace"} {
		if got := signInStatus(t, plain.URL, handle, password); got != http.StatusUnauthorized {
			t.Errorf("sign-in of %s without a demo: got %d, want %d", handle, got, http.StatusUnauthorized)
		}
	}
	plain.Stop()

	demo := localtest.Up(t, run, "DEMO=true")
	found := demoButtons(t, demo.URL)
	if len(found) != 2 {
		t.Errorf("demo buttons: got %q, want two", found)
	}
	for _, form := range found {
		if got := signInStatus(t, demo.URL, form[1], form[2]); got != http.StatusSeeOther {
			t.Errorf("sign-in with the demo button of %s: got %d, want %d", form[1], got, http.StatusSeeOther)
		}
	}
	demo.Stop()

	again := exec.CommandContext(t.Context(), localtest.Program(t))
	again.Env = append(os.Environ(), "RUN_DIR="+run, "DEMO=false", "WEB_ADDRESS="+localtest.FreeAddress(t), "WEB_ADMIN_ADDRESS="+localtest.FreeAddress(t),
		"LOGIC_ADDRESS="+localtest.FreeAddress(t), "LOGIC_ADMIN_ADDRESS="+localtest.FreeAddress(t), "DATA_ADDRESS="+localtest.FreeAddress(t))
	output, err := again.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "still has its published password") || strings.Contains(string(output), "web-tier on") {
		t.Errorf("a site that is no longer a demo started with the demo accounts: %v\n%s", err, output)
	}
}
