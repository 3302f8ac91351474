package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/accounts"
	"techtalks.example/logic-tier/following"
	"techtalks.example/logic-tier/media"
	"techtalks.example/logic-tier/notifications"
	"techtalks.example/logic-tier/operations"
	"techtalks.example/logic-tier/queue/inspection"
	"techtalks.example/logic-tier/server"
	"techtalks.example/logic-tier/talks"
	"techtalks.example/logic-tier/transfers"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

// Connections a role may have. Together with those of two more processes and the
// operator's they stay below the data tier's 400.
const (
	accountsConnections      = 16
	talksConnections         = 24
	followingConnections     = 8
	notificationsConnections = 16
	mediaConnections         = 12
	transfersConnections     = 4
	operationsConnections    = 12
	queueConnections         = 8
)

// garbage is GOGC: a request leaves little behind, and collecting a few
// megabytes over and over is a quarter of the work of serving it.
const garbage = 400

// memory is when to collect sooner all the same: files pass through in pieces, and
// fifty people who watch leave much behind. GOMEMLIMIT in the environment says
// otherwise.
const memory = 256 << 20

// app is the only place that knows every module: it wires them to a server.
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

// runner is what a module does beside answering calls.
type runner interface{ Run(context.Context) error }

// run wires the modules, runs them until ctx ends, and has answer do the rest.
func (a *app) run(ctx context.Context, works bool, answer func(context.Context, *server.Server) error) error {
	debug.SetGCPercent(garbage)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	credentials, err := transport.ServerCredentials(a.settings.certificates, transport.LogicTier)
	if err != nil {
		return fmt.Errorf("%w: make them with deployments/certificates, or say with --certificates where they are", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	srv, err := server.New(server.Options{
		Credentials: credentials, Host: host, Metrics: registry, Log: a.log,
		DataHost: func() string {
			if name := a.dataHost.Load(); name != nil {
				return *name
			}
			return ""
		},
	})
	if err != nil {
		return err
	}

	databases := databases{settings: a.settings, registry: registry}
	defer databases.close()
	open := databases.open
	// A module calls another through its client alone.
	channel := srv.Channel()
	operationWork := operationspb.NewOperationWorkClient(channel)
	mediaClient := mediapb.NewMediaClient(channel)

	queueDB := open("queue", queueConnections)
	broker, err := newBroker(a.settings, queueDB, databases.options("queue", 0), a.log)
	if err != nil {
		return errors.Join(err, databases.err)
	}
	registry.MustRegister(broker.Registry())
	accountsModule := accounts.New(accounts.Needs{
		DB: open("accounts", accountsConnections), Operators: names(a.settings.operators), Log: a.log,
	})
	talksModule := talks.New(talks.Needs{
		DB: open("talks", talksConnections), Publisher: broker, Media: mediaClient, Work: operationWork,
		Handles: longrunningpb.NewOperationsClient(channel), Log: a.log,
	})
	followingModule := following.New(following.Needs{
		DB: open("following", followingConnections), Channels: talkspb.NewChannelsClient(channel),
	})
	notificationsModule := notifications.New(notifications.Needs{
		DB: open("notifications", notificationsConnections), Listen: databases.options("notifications", 0),
		Accounts:  accountspb.NewAccountsClient(channel),
		Following: followingpb.NewFollowingClient(channel),
		Metrics:   registry, Log: a.log,
	})
	mediaModule := media.New(media.Needs{
		DB: databases.openBinary("media", mediaConnections), Publisher: broker, Operations: operationWork, Scratch: a.settings.scratch, Log: a.log,
	})
	transfersModule := transfers.New(transfers.Needs{
		DB: open("transfers", transfersConnections), Talks: talkspb.NewTalksClient(channel), Channels: talkspb.NewChannelsClient(channel),
		Media: mediaClient, Operations: operationWork, Log: a.log,
	})
	operationsModule := operations.New(operations.Needs{
		DB: open("operations", operationsConnections), Listen: databases.options("operations", 0), Publisher: broker,
		Accounts: accountspb.NewAccountsClient(channel), Log: a.log,
	})
	if databases.err != nil {
		return databases.err
	}
	for _, module := range []interface{ Register(grpc.ServiceRegistrar) }{
		accountsModule, talksModule, followingModule, notificationsModule, mediaModule, transfersModule, operationsModule,
	} {
		module.Register(srv)
	}
	topology := append(media.Topology(), talks.Topology(), notifications.Topology(), transfers.Topology(), operations.Topology())
	queues := inspection.New(inspection.Needs{
		DB: queueDB, Broker: broker, Engine: broker.name, Up: broker.Up, Registry: broker.Registry(), Topologies: topology, Log: a.log,
	})
	queues.Register(srv)
	topology = append(topology, inspection.Topology())
	consumers, err := chosen(names(a.settings.queues), slices.Concat(
		talksModule.Consumers(), notificationsModule.Consumers(), mediaModule.Consumers(), transfersModule.Consumers(), queues.Consumers()))
	if err != nil {
		return err
	}

	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", a.settings.adminAddress)
	if err != nil {
		return err
	}
	a.settings.adminAddress = adminListener.Addr().String()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, &a.ready, registry) })
	g.Go(func() error { return a.watchData(ctx, queueDB, srv.SetServing) })
	for _, module := range []runner{broker, accountsModule, talksModule, notificationsModule, mediaModule, transfersModule, operationsModule, queues} {
		g.Go(func() error { return module.Run(ctx) })
	}
	if !works {
		consumers = nil
	}
	g.Go(func() error { return a.consume(ctx, broker, topology, consumers) })
	g.Go(func() error { return answer(ctx, srv) })
	err = g.Wait()
	a.log.Info("stopped")
	return err
}

func listen(flag, twin, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: is something else there? use another address", flag, twin, address, err)
	}
	return listener, nil
}
