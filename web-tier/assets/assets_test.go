package assets

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestScriptImportsResolve(t *testing.T) {
	pattern := regexp.MustCompile(`from "([^"]+)"`)
	imports := 0
	for name, a := range byName {
		for _, match := range pattern.FindAllStringSubmatch(string(a.content), -1) {
			imports++
			w := httptest.NewRecorder()
			Serve(w, httptest.NewRequest(http.MethodGet, match[1], nil))
			if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") {
				t.Errorf("%s imports %s: got status %d, want 200 and a script", name, match[1], w.Code)
			}
		}
	}
	if imports == 0 {
		t.Error("got no imports in any script")
	}
}
