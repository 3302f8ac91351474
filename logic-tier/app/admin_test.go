package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Probes and scrapers on other hosts reach health and metrics, but not profiles.
func TestAdminHandler_ServesProfilesOnLoopbackOnly(t *testing.T) {
	handler := adminHandler(&readiness{}, prometheus.NewRegistry())
	for _, c := range []struct {
		peer, path string
		want       int
	}{
		{"10.0.0.5:4000", "/healthz", http.StatusOK},
		{"10.0.0.5:4000", "/readyz", http.StatusOK},
		{"10.0.0.5:4000", "/metrics", http.StatusOK},
		{"10.0.0.5:4000", "/debug/pprof/", http.StatusForbidden},
		{"10.0.0.5:4000", "/debug/pprof/goroutine", http.StatusForbidden},
		{"10.0.0.5:4000", "/debug/pprof/cmdline", http.StatusForbidden},
		{"10.0.0.5:4000", "/debug/pprof/profile?seconds=1", http.StatusForbidden},
		{"[2001:db8::5]:4000", "/debug/pprof/heap", http.StatusForbidden},
		{"127.0.0.1:4000", "/debug/pprof/", http.StatusOK},
		{"[::1]:4000", "/debug/pprof/heap", http.StatusOK},
		{"[::ffff:127.0.0.1]:4000", "/debug/pprof/heap", http.StatusOK},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.RemoteAddr = c.peer
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s from %s: got %d, want %d", c.path, c.peer, w.Code, c.want)
		}
	}
}
