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
	// Timeouts of the HTTP server. Streams set their own write deadlines.
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader bounds a request's headers, which hold little but a cookie and a traceparent.
	maxHeader = 16 << 10
	// maxStreams limits the requests in flight on one HTTP/2 connection: the minimum that
	// RFC 9113, section 6.5.2, recommends.
	maxStreams = 100
	// maxConnections limits the open connections, at about 10 KB each: more than the limit of
	// subscribers of one feed (package live). maxConnectionsPerAddress leaves a large network
	// behind one address all the streams that it is allowed, and connections for pages.
	maxConnections           = 32_768
	maxConnectionsPerAddress = maxConnections / 4
	// shutdownTimeout bounds how long requests in flight can take to finish when the tier stops.
	shutdownTimeout = 5 * time.Second
	// gcPercent is GOGC. A page leaves little garbage, and at the default the repeated
	// collection of a few megabytes is a quarter of the work of rendering it.
	gcPercent = 400
	// memoryLimit is the soft limit above which the collector runs more often: chunks of files
	// become garbage quickly. It is enough for 20,000 streams at 20 KB each, and leaves a third
	// of the container's 768 MiB unused. GOMEMLIMIT in the environment takes precedence.
	memoryLimit = 512 << 20
)

// serve serves browsers until the drain delay after ctx has ended.
func serve(ctx context.Context, s settings, log *slog.Logger) error {
	debug.SetGCPercent(gcPercent)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	proxies, err := server.ParseProxies(s.trustedProxies, s.proxyHeader)
	if err != nil {
		return err
	}
	creds, err := transport.ClientCredentials(s.certificates, transport.WebTier, transport.LogicTier)
	if err != nil {
		return fmt.Errorf("%w: make them with deployments/certificates, or set --certificates (CERTIFICATES) to their directory", err)
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
	// Package collectors, which replaces these deprecated functions, would link database/sql
	// into the web tier.
	//nolint:staticcheck
	registry.MustRegister(prometheus.NewGoCollector(), prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{}))

	feeds := feeds{
		inbox:      live.NewInbox(tier.Notifications, log),
		operations: live.NewOperations(tier.Operations, tier.OperationStreams, log),
		queues:     live.NewQueues(tier.Queues, log),
	}
	registry.MustRegister(feeds.inbox.Collector("live"), feeds.operations.Collector("live_operation"), feeds.queues.Collector("live_queue"))
	site := &ui.Site{Tier: tier, Uploads: uploads.New(tier.Media), Log: log, Host: host, Secure: s.secureCookies, Demo: s.demo}
	middleware := server.New(log, registry, s.secureCookies, site.Caller, site.Refuse, site.ServeStale)
	drainer := &drainer{delay: s.drainDelay}
	handler := drainer.handler(proxies.Handler(log, middleware.Handler(routes(site, feeds, middleware.Admit))))

	listener, err := listen("listen-address", "LISTEN_ADDRESS", s.listenAddress)
	if err != nil {
		return err
	}
	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", s.adminAddress)
	if err != nil {
		return err
	}
	httpServer := newHTTPServer(handler, log)
	limited := proxies.LimitConnections(listener, maxConnections, maxConnectionsPerAddress)
	log.Info("serving", "address", listener.Addr().String(), "admin", adminListener.Addr().String(), "logic", s.logicAddress)

	ctx, stop := drainer.context(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, drainer.ready(tier.Ready), registry) })
	g.Go(func() error {
		return transport.Watch(ctx, log, "certificate", func(context.Context) error {
			return transport.CheckCertificate(s.certificates, transport.WebTier)
		})
	})
	g.Go(func() error { return transport.Watch(ctx, log, "logic tier", tier.Ready) })
	g.Go(func() error { return feeds.inbox.Run(ctx) })
	g.Go(func() error { return feeds.operations.Run(ctx) })
	g.Go(func() error { return feeds.queues.Run(ctx) })
	g.Go(func() error {
		if err := httpServer.Serve(proxies.Listener(limited, headerTimeout)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		feeds.inbox.Drain()
		feeds.operations.Drain()
		feeds.queues.Drain()
		shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := httpServer.Shutdown(shutdownCtx); err != nil {
			return httpServer.Close()
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

func listen(flag, variable, address string) (*net.TCPListener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: use host:port, with an address of this host and a port that nothing else there listens on", flag, variable, address, err)
	}
	return listener.(*net.TCPListener), nil
}
