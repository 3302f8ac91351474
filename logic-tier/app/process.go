package app

import (
	"context"
	"errors"
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

// gcPercent is GOGC. Requests leave little live memory, and collecting a heap of a few
// megabytes again and again takes a quarter of the time to serve them.
const gcPercent = 400

// memoryLimit makes the collector run earlier under load: files pass through memory in
// chunks, and fifty concurrent viewers leave much garbage. GOMEMLIMIT overrides it.
const memoryLimit = 256 << 20

// process is a running logic tier, or a process that runs some of its modules.
type process struct {
	settings settings
	log      *slog.Logger
	ready    readiness
	declared chan struct{} // closed once the queue topology is declared
	dataHost atomic.Pointer[string]
}

func newProcess(s settings, log *slog.Logger) *process {
	p := &process{settings: s, log: log, declared: make(chan struct{})}
	p.ready.set(errors.New("starting"))
	return p
}

// serve serves calls until ctx is cancelled, and consumes the queues unless settings.work
// is false.
func (p *process) serve(ctx context.Context) error {
	return p.run(ctx, p.settings.work, func(ctx context.Context, srv *server.Server) error {
		listener, err := listen("listen-address", "LISTEN_ADDRESS", p.settings.listenAddress)
		if err != nil {
			return err
		}
		p.log.Info("serving", "address", listener.Addr().String(), "admin", p.settings.adminAddress, "data", p.settings.dataAddress)
		return srv.Serve(ctx, listener)
	})
}

// work consumes the queues until ctx is cancelled, and serves no calls.
func (p *process) work(ctx context.Context) error {
	return p.run(ctx, true, func(ctx context.Context, _ *server.Server) error {
		p.log.Info("consuming queues", "admin", p.settings.adminAddress, "data", p.settings.dataAddress)
		<-ctx.Done()
		return nil
	})
}

// run connects to the other modules and the data tier, assembles the modules of this
// process, and runs them with foreground until ctx is cancelled or one of them fails.
func (p *process) run(ctx context.Context, consumes bool, foreground func(context.Context, *server.Server) error) error {
	tuneCollector()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	srv, err := p.newServer(registry)
	if err != nil {
		return err
	}
	modules, err := connectModules(p.settings, srv.Channel())
	if err != nil {
		return err
	}
	defer modules.Close()
	accounts := accountspb.NewAccountsClient(modules)
	watch := sessions.New(accounts, p.log)
	srv.SetSessionVerifier(accounts)
	srv.SetSessionWatcher(watch)

	databases := databases{settings: p.settings, registry: registry}
	defer databases.close()
	assembly, err := p.assemble(srv, modules, watch, &databases, registry)
	if err != nil {
		return err
	}
	if assembly.consumers, err = selectConsumers(splitList(p.settings.queues), assembly.consumers); err != nil {
		return err
	}
	if !consumes {
		assembly.consumers = nil
	}
	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", p.settings.adminAddress)
	if err != nil {
		return err
	}
	p.settings.adminAddress = adminListener.Addr().String()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, &p.ready, registry) })
	g.Go(func() error { return p.watchDataTier(ctx, databases.opened, srv.SetServing) })
	p.watchDependencies(ctx, g, assembly.broker, modules)
	for _, runner := range assembly.runners {
		g.Go(func() error { return runner.Run(ctx) })
	}
	g.Go(func() error {
		return p.consume(ctx, assembly.broker, assembly.topology, yieldWhileBusy(assembly.consumers, srv.Busy))
	})
	g.Go(func() error { return foreground(ctx, srv) })
	err = g.Wait()
	p.log.Info("stopped")
	return err
}

func tuneCollector() {
	debug.SetGCPercent(gcPercent)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// watchDependencies logs while the certificate, the message broker or another process's
// modules are not usable. None of them stops the process.
func (p *process) watchDependencies(ctx context.Context, g *errgroup.Group, broker broker, modules *transport.Router) {
	g.Go(func() error {
		return transport.Watch(ctx, p.log, "certificate", func(context.Context) error {
			return transport.CheckCertificate(p.settings.certificates, transport.LogicTier)
		})
	})
	if p.settings.broker != "" {
		g.Go(func() error {
			return transport.Watch(ctx, p.log, "message broker (--broker, BROKER)", func(context.Context) error { return broker.Up() })
		})
	}
	if p.settings.peers != "" {
		g.Go(func() error { return transport.Watch(ctx, p.log, "other modules (--peer, PEERS)", modules.Ready) })
	}
}

func (p *process) newServer(registry *prometheus.Registry) (*server.Server, error) {
	credentials, err := transport.ServerCredentials(p.settings.certificates, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, certificatesFix)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return server.New(server.Options{
		Credentials: credentials, Host: host, Metrics: registry, Log: p.log,
		DataHost: func() string {
			if name := p.dataHost.Load(); name != nil {
				return *name
			}
			return ""
		},
	})
}

const certificatesFix = "make them with deployments/certificates, or set --certificates (CERTIFICATES) to their directory"

func listen(flag, variable, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: use host:port, with an address of this host and a port that nothing else there listens on", flag, variable, address, err)
	}
	return listener, nil
}
