package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/live"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
	"techtalks.example/web-tier/platform/uploads"
)

const (
	// A browser has this long to say what it wants, and to take an answer.
	// Streams set their own write deadlines.
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader bounds a request's headers: a cookie and a traceparent, not more.
	maxHeader = 16 << 10
	// maxStreams is how many requests one HTTP/2 connection may have under way: no fewer
	// than RFC 9113, section 6.5.2, recommends.
	maxStreams = 100
	// maxConnections bounds the open connections, at some 10 KB each: more than may
	// follow one feed (package live). maxConnectionsPerAddress leaves a large network
	// behind one address all the streams that it may have, and pages beside them.
	maxConnections           = 32_768
	maxConnectionsPerAddress = maxConnections / 4
	// drainTime bounds how long requests may still take when the tier stops.
	drainTime = 5 * time.Second
	// garbage is GOGC: a page leaves little behind, and collecting a few
	// megabytes over and over is a quarter of the work of making it.
	garbage = 400
	// memory is the soft limit at which the collector runs earlier: pieces of files become
	// garbage fast. It leaves room for 20,000 streams at 20 KB each, and a third of the
	// container's 768 MiB unused. GOMEMLIMIT in the environment takes precedence.
	memory = 512 << 20
)

// serve answers browsers until ctx ends, and for the drain delay after it.
func serve(ctx context.Context, s settings, log *slog.Logger) error {
	debug.SetGCPercent(garbage)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	proxies, err := server.ParseProxies(s.trustedProxies, s.proxyHeader)
	if err != nil {
		return err
	}
	creds, err := transport.ClientCredentials(s.certificates, transport.WebTier, transport.LogicTier)
	if err != nil {
		return fmt.Errorf("%w: make them with deployments/certificates, or say with --certificates (CERTIFICATES) where they are", err)
	}
	tier, err := logicclient.Dial(s.logicAddress, creds)
	if err != nil {
		return fmt.Errorf("--logic-address (LOGIC_ADDRESS) %q: %w", s.logicAddress, err)
	}
	defer tier.Close()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	// Not from package collectors, as these ask: it is built from database/sql,
	// which this tier must not be.
	// Package collectors, which replaces these, would link database/sql into the web tier.
	//nolint:staticcheck
	registry.MustRegister(prometheus.NewGoCollector(), prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{}))

	followed := feeds{
		inbox:      live.NewInbox(tier.Notifications, log),
		operations: live.NewOperations(tier.Operations, tier.OperationStreams, log),
		queues:     live.NewQueues(tier.Queues, log),
	}
	registry.MustRegister(followed.inbox.Collector("live"), followed.operations.Collector("live_operation"), followed.queues.Collector("live_queue"))
	site := &ui.Site{Tier: tier, Uploads: uploads.New(tier.Media), Log: log, Host: host, Secure: s.secureCookies, Demo: s.demo}
	passage := server.New(log, registry, s.secureCookies, site.Caller, site.Refuse, site.ServeStale)
	draining := &drain{delay: s.drainDelay}
	handler := draining.handler(proxies.Handler(log, passage.Handler(routes(site, followed, passage.Admit))))

	listener, err := listen("listen-address", "LISTEN_ADDRESS", s.listenAddress)
	if err != nil {
		return err
	}
	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", s.adminAddress)
	if err != nil {
		return err
	}
	answering := newHTTPServer(handler, log)
	counted := proxies.LimitConnections(listener, maxConnections, maxConnectionsPerAddress)
	log.Info("serving", "address", listener.Addr().String(), "admin", adminListener.Addr().String(), "logic", s.logicAddress)

	ctx, stop := draining.after(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, draining.ready(tier.Ready), registry) })
	g.Go(func() error {
		return transport.Watch(ctx, log, "certificate", func(context.Context) error {
			return transport.CheckCertificate(s.certificates, transport.WebTier)
		})
	})
	g.Go(func() error { return transport.Watch(ctx, log, "logic tier", tier.Ready) })
	g.Go(func() error { return followed.inbox.Run(ctx) })
	g.Go(func() error { return followed.operations.Run(ctx) })
	g.Go(func() error { return followed.queues.Run(ctx) })
	g.Go(func() error {
		if err := answering.Serve(proxies.Listener(counted, headerTimeout)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		followed.inbox.Drain()
		followed.operations.Drain()
		followed.queues.Drain()
		ending, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer done()
		if err := answering.Shutdown(ending); err != nil {
			return answering.Close()
		}
		return nil
	})
	err = g.Wait()
	log.Info("stopped")
	return err
}

func newHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server
}

func listen(flag, twin, address string) (*net.TCPListener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: use host:port, an address of this host and a port that nothing else there listens on", flag, twin, address, err)
	}
	return listener.(*net.TCPListener), nil
}
