package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness is nil when the tier can do its work, or else why not.
type readiness struct{ reason atomic.Pointer[string] }

func (r *readiness) set(err error) {
	if err == nil {
		r.reason.Store(nil)
		return
	}
	text := err.Error()
	r.reason.Store(&text)
}

// serveAdmin answers /healthz (the process lives), /readyz (it can do its work),
// /metrics and /debug/pprof/ until ctx ends.
func serveAdmin(ctx context.Context, listener net.Listener, ready *readiness, registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reason := ready.reason.Load(); reason != nil {
			http.Error(w, *reason, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	// Where the time and the memory go; for go tool pprof, 5 seconds at most.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// health asks the tier on this host whether it is ready: what a container's
// health check runs, in images without a shell.
func health(ctx context.Context, address string) error {
	ctx, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--admin-address (ADMIN_ADDRESS) %q: use host:port: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("--admin-address (ADMIN_ADDRESS) %s: nobody answers: see whether it runs, and with this address: %w", address, err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", text)
	}
	return nil
}
