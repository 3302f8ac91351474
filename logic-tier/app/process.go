package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/platform/server"
	"techtalks.example/logic-tier/platform/sessions"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// garbage is GOGC: a request leaves little behind, and collecting a few
// megabytes over and over is a quarter of the work of serving it.
const garbage = 400

// memory is when to collect sooner all the same: files pass through in pieces, and
// fifty people who watch leave much behind. GOMEMLIMIT in the environment says
// otherwise.
const memory = 256 << 20

// app is the logic tier, or the modules of it that are in this process.
type app struct {
	settings settings
	log      *slog.Logger
	ready    readiness
	declared chan struct{} // closed when the queue's topology is
	dataHost atomic.Pointer[string]
}

func newApp(s settings, log *slog.Logger) *app {
	a := &app{settings: s, log: log, declared: make(chan struct{})}
	a.ready.set(fmt.Errorf("starting"))
	return a
}

// serve answers calls until ctx ends, and works the queues unless that is left to
// processes of their own.
func (a *app) serve(ctx context.Context) error {
	return a.run(ctx, a.settings.work, func(ctx context.Context, srv *server.Server) error {
		listener, err := listen("listen-address", "LISTEN_ADDRESS", a.settings.listenAddress)
		if err != nil {
			return err
		}
		a.log.Info("serving", "address", listener.Addr().String(), "admin", a.settings.adminAddress, "data", a.settings.dataAddress)
		return srv.Serve(ctx, listener)
	})
}

// work works the queues until ctx ends, and answers nobody.
func (a *app) work(ctx context.Context) error {
	return a.run(ctx, true, func(ctx context.Context, _ *server.Server) error {
		a.log.Info("working", "admin", a.settings.adminAddress, "data", a.settings.dataAddress)
		<-ctx.Done()
		return nil
	})
}

// run wires the modules, runs them until ctx ends, and has answer do the rest.
func (a *app) run(ctx context.Context, works bool, answer func(context.Context, *server.Server) error) error {
	debug.SetGCPercent(garbage)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	srv, err := a.newServer(registry)
	if err != nil {
		return err
	}
	neighbours, err := newNeighbours(a.settings, srv.Channel())
	if err != nil {
		return err
	}
	defer neighbours.Close()
	srv.SetSessionVerifier(accountspb.NewAccountsClient(neighbours))
	watch := sessions.New(accountspb.NewAccountsClient(neighbours), a.log)
	srv.SetSessionWatcher(watch)
	databases := databases{settings: a.settings, registry: registry}
	defer databases.close()

	parts, err := a.wire(srv, neighbours, watch, &databases, registry)
	if err != nil {
		return err
	}
	if parts.consumers, err = chosen(names(a.settings.queues), parts.consumers); err != nil {
		return err
	}
	if !works {
		parts.consumers = nil
	}
	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", a.settings.adminAddress)
	if err != nil {
		return err
	}
	a.settings.adminAddress = adminListener.Addr().String()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, &a.ready, registry) })
	g.Go(func() error { return a.watchData(ctx, databases.opened, srv.SetServing) })
	g.Go(func() error {
		return transport.Watch(ctx, a.log, "certificate", func(context.Context) error {
			return transport.CheckCertificate(a.settings.certificates, transport.LogicTier)
		})
	})
	if a.settings.broker != "" {
		g.Go(func() error {
			return transport.Watch(ctx, a.log, "message broker (--broker, BROKER)", func(context.Context) error { return parts.broker.Up() })
		})
	}
	if a.settings.peers != "" {
		g.Go(func() error { return transport.Watch(ctx, a.log, "other modules (--peer, PEERS)", neighbours.Ready) })
	}
	for _, part := range parts.running {
		g.Go(func() error { return part.Run(ctx) })
	}
	g.Go(func() error {
		return a.consume(ctx, parts.broker, parts.topology, yielding(parts.consumers, srv.Busy))
	})
	g.Go(func() error { return answer(ctx, srv) })
	err = g.Wait()
	a.log.Info("stopped")
	return err
}

func (a *app) newServer(registry *prometheus.Registry) (*server.Server, error) {
	credentials, err := transport.ServerCredentials(a.settings.certificates, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: make them with deployments/certificates, or say with --certificates (CERTIFICATES) where they are", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return server.New(server.Options{
		Credentials: credentials, Host: host, Metrics: registry, Log: a.log,
		DataHost: func() string {
			if name := a.dataHost.Load(); name != nil {
				return *name
			}
			return ""
		},
	})
}

func listen(flag, twin, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: use host:port, an address of this host and a port that nothing else there listens on", flag, twin, address, err)
	}
	return listener, nil
}
