package ui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"techtalks.example/web-tier/pages/ui"
)

// Whatever next parameter a link to the sign-in page has, the redirect stays on this site.
func FuzzLocalPathStaysOnSite(f *testing.F) {
	for _, seed := range []string{"/", "/inbox?x=1#y", "//evil.example", `/\evil.example`, "https://evil.example", "/..//evil.example", "/\t/evil.example", "/%2f/evil.example", "javascript:x", "/.//evil.example"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "http", Host: "here.example", Path: "/sign-in"}
	f.Fuzz(func(t *testing.T, next string) {
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequest(http.MethodPost, base.String(), nil), ui.LocalPath(next, "/"), http.StatusSeeOther)
		target, err := base.Parse(w.Header().Get("Location"))
		if err != nil || target.Host != base.Host || target.Scheme != base.Scheme {
			t.Errorf("%q redirects to %q, want a path on %s", next, w.Header().Get("Location"), base.Host)
		}
	})
}

func TestSessionCookieName(t *testing.T) {
	for _, c := range []struct {
		host   string
		secure bool
		want   string
	}{
		{"talks.example", false, "session"},
		{"talks.example:80", false, "session"},
		{"talks.example:8080", false, "session-8080"},
		{"127.0.0.1:8280", false, "session-8280"},
		{"[2001:db8::1]:8080", false, "session-8080"},
		{"[2001:db8::1]", false, "session"},
		{"talks.example", true, "__Host-session"},
		{"talks.example:443", true, "__Host-session"},
		{"talks.example:8443", true, "__Host-session-8443"},
		{"talks.example:a=b", false, "session"},
		{"talks.example:99999", false, "session"},
		{"", false, "session"},
	} {
		if got := ui.SessionCookieName(c.host, c.secure); got != c.want {
			t.Errorf("SessionCookieName(%q, %v) = %q, want %q", c.host, c.secure, got, c.want)
		}
	}
}
