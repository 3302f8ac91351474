package assets

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// A script's imports are addresses that are served, by the content behind them.
func TestWhatScriptsImportIsThere(t *testing.T) {
	from := regexp.MustCompile(`from "([^"]+)"`)
	found := 0
	for name, a := range byName {
		for _, match := range from.FindAllStringSubmatch(string(a.plain), -1) {
			found++
			w := httptest.NewRecorder()
			Serve(w, httptest.NewRequest(http.MethodGet, match[1], nil))
			if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") {
				t.Errorf("%s imports %s, which answers %d", name, match[1], w.Code)
			}
		}
	}
	if found == 0 {
		t.Error("no script imports anything")
	}
}
