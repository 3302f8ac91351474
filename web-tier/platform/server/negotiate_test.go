package server_test

import (
	"net/http"
	"testing"

	"techtalks.example/web-tier/platform/server"
)

func TestPrefersJSON(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                      false,
		"*/*":                                   false,
		"text/html":                             false,
		"application/json":                      true,
		"application/json; charset=utf-8":       true,
		"APPLICATION/JSON":                      true,
		"application/*":                         true,
		"application/json, text/plain, */*":     true,
		"text/html, application/json":           false,
		"text/html;q=0.5, application/json":     true,
		"text/html, application/json;q=0.9":     false,
		"application/json;q=0":                  false,
		"*/*, application/json;q=0":             false,
		"text/*;q=0.8, application/json;q=0.8":  true,
		"text/html;q=0, */*":                    true,
		"application/json;q=nonsense":           false,
		"text/html;q=0.2, application/json;q=2": false,
		",;, application/json":                  true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": false,
	} {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		if got := server.PrefersJSON(r); got != want {
			t.Errorf("%q: got %v, want %v", accept, got, want)
		}
	}
}
