package ui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"techtalks.example/web-tier/pages/ui"
)

// Whatever somebody puts into a link to the sign-in page, a browser that follows
// the answer stays on this site.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/", "/inbox?x=1#y", "//evil.example", `/\evil.example`, "https://evil.example", "/..//evil.example", "/\t/evil.example", "/%2f/evil.example", "javascript:x", "/.//evil.example"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "http", Host: "here.example", Path: "/sign-in"}
	f.Fuzz(func(t *testing.T, next string) {
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequest(http.MethodPost, base.String(), nil), ui.LocalPath(next, "/"), http.StatusSeeOther)
		to, err := base.Parse(w.Header().Get("Location"))
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme {
			t.Errorf("%q leads to %q", next, w.Header().Get("Location"))
		}
	})
}
