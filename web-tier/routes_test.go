package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
	"techtalks.example/web-tier/platform/uploads"
)

// newSite returns the routes of a site with a fake logic tier.
func newSite(t *testing.T) http.Handler {
	t.Helper()
	tier := logictest.New(t).Logic
	return routes(&ui.Site{Tier: tier, Uploads: uploads.New(tier.Media), Host: "web-host"}, feeds{}, func(next http.Handler) http.Handler { return next })
}

func send(handler http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request)
	return w
}

func TestUnroutedRequestsGetAnErrorPage(t *testing.T) {
	handler := newSite(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/nowhere", http.StatusNotFound, ""},
		{"POST", "/nowhere", http.StatusNotFound, ""},
		{"GET", "/talks/", http.StatusNotFound, ""},
		{"POST", "/talks", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"PUT", "/channels", http.StatusMethodNotAllowed, "GET, HEAD, POST"},
		{"DELETE", "/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"GET", "/sign-out", http.StatusMethodNotAllowed, "POST"},
		{"GET", "/channels/c/follow", http.StatusMethodNotAllowed, "POST"},
		{"PUT", "/uploads/u", http.StatusMethodNotAllowed, "DELETE, HEAD, OPTIONS, PATCH, POST"},
		{"GET", "/assets/none.css", http.StatusNotFound, ""},
	} {
		page := send(handler, c.method, c.path, "Accept", "text/html")
		if page.Code != c.status || page.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d, Allow %q, want %d, %q", c.method, c.path, page.Code, page.Header().Get("Allow"), c.status, c.allow)
		}
		if !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || !strings.Contains(page.Body.String(), `<section class="problem">`) {
			t.Errorf("%s %s: got %s %q, want an error page of the site", c.method, c.path, page.Header().Get("Content-Type"), page.Body)
		}
		json := send(handler, c.method, c.path, "Accept", "application/json")
		if json.Code != c.status || json.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s as JSON: got %d, %s, want %d, application/problem+json", c.method, c.path, json.Code, json.Header().Get("Content-Type"), c.status)
		}
	}
	if got := send(handler, "GET", "/sign-in").Code; got != http.StatusOK {
		t.Errorf("GET /sign-in: got %d, want 200", got)
	}
}

func TestRoutesAskForSessionUnlessForAnyone(t *testing.T) {
	handler := newSite(t)
	for _, r := range pages {
		method, path, _ := strings.Cut(r.pattern, " ")
		path = strings.NewReplacer("{$}", "", "{", "", "}", "").Replace(path)
		page := send(handler, method, path, "Accept", "text/html")
		asked := strings.HasPrefix(page.Header().Get("Location"), "/sign-in?next=")
		if asked != (r.who != anyone) {
			t.Errorf("%s, for %s: without a session got %d, Location %q", r.pattern, r.who, page.Code, page.Header().Get("Location"))
		}
		if want := "/sign-in?next=" + url.QueryEscape(path); asked && method == http.MethodGet && page.Header().Get("Location") != want {
			t.Errorf("%s: Location %q, want %q", r.pattern, page.Header().Get("Location"), want)
		}
		if json := send(handler, method, path, "Accept", "application/json"); asked && json.Code != http.StatusUnauthorized {
			t.Errorf("%s as JSON: without a session got %d, want 401", r.pattern, json.Code)
		}
	}
}

func TestSignInReturnsToThePageOfTheForm(t *testing.T) {
	handler := newSite(t)
	for referer, want := range map[string]string{
		"http://example.com/channels/go?page=2": "/channels/go?page=2",
		"https://elsewhere.example/channels/go": "/",
		"":                                      "/",
	} {
		got := send(handler, "POST", "/channels/go/follow", "Accept", "text/html", "Referer", referer).Header().Get("Location")
		if got != "/sign-in?next="+url.QueryEscape(want) {
			t.Errorf("from %q: Location %q, want one that leads back to %s", referer, got, want)
		}
	}
}
