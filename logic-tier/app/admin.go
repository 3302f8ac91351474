package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness holds the reason why the tier is not ready, or nil.
type readiness struct{ reason atomic.Pointer[string] }

func (r *readiness) set(err error) {
	if err == nil {
		r.reason.Store(nil)
		return
	}
	reason := err.Error()
	r.reason.Store(&reason)
}

// serveAdmin serves adminHandler until ctx is cancelled.
func serveAdmin(ctx context.Context, listener net.Listener, ready *readiness, registry *prometheus.Registry) error {
	server := &http.Server{Handler: adminHandler(ready, registry), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// adminHandler serves /healthz (liveness), /readyz (readiness) and /metrics, and on
// loopback connections /debug/pprof/.
func adminHandler(ready *readiness, registry *prometheus.Registry) http.Handler {
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
	// For go tool pprof; the server's WriteTimeout allows profiles of up to 5 seconds.
	mux.HandleFunc("GET /debug/pprof/", loopbackOnly(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/profile", loopbackOnly(pprof.Profile))
	return mux
}

// loopbackOnly rejects clients on other hosts, whatever address the admin port listens on.
// A profile costs seconds of processor time, and exposes the command line and goroutines.
// "kubectl port-forward" and "ssh -L" connect from loopback.
func loopbackOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !peer.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are served on loopback only: forward the port, as with ssh -L or kubectl port-forward", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// health returns an error unless the tier on this host is ready. Container health checks
// run it, since the images have no shell.
func health(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
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
		return fmt.Errorf("--admin-address (ADMIN_ADDRESS) %s: cannot reach the logic tier: check that it runs and uses this address: %w", address, err)
	}
	defer response.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", reason)
	}
	return nil
}
