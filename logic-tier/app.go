package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/accounts"
	"techtalks.example/logic-tier/following"
	"techtalks.example/logic-tier/notifications"
	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/queue/postgresqueue"
	"techtalks.example/logic-tier/server"
	"techtalks.example/logic-tier/talks"
	"techtalks.example/logic-tier/transfers"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

// Connections a role may have. Together with a second replica's and the
// operator's they stay below the data tier's 200.
const (
	accountsConnections      = 16
	talksConnections         = 24
	followingConnections     = 8
	notificationsConnections = 16
	queueConnections         = 8
)

// pingEvery is how often the data tier is asked whether it is there, which is
// what health and readiness tell.
const pingEvery = time.Second

// garbage is GOGC: a request leaves little behind, and collecting a few
// megabytes over and over is a quarter of the work of serving it.
const garbage = 400

// app is the only place that knows every module: it wires them to a server.
type app struct {
	settings settings
	log      *slog.Logger
	ready    readiness
	dataHost atomic.Pointer[string]
}

func newApp(s settings, log *slog.Logger) *app {
	a := &app{settings: s, log: log}
	a.ready.set(fmt.Errorf("starting"))
	return a
}

// run serves until ctx ends.
func (a *app) run(ctx context.Context) error {
	debug.SetGCPercent(garbage)
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

	queueDB := open("queue", queueConnections)
	broker := postgresqueue.New(queueDB, databases.options("queue", 0), a.log)
	accountsModule := accounts.New(accounts.Needs{DB: open("accounts", accountsConnections), Log: a.log})
	talksModule := talks.New(talks.Needs{DB: open("talks", talksConnections), Publisher: broker, Log: a.log})
	followingModule := following.New(following.Needs{
		DB: open("following", followingConnections), Channels: talkspb.NewChannelsClient(srv.Channel()),
	})
	notificationsModule := notifications.New(notifications.Needs{
		DB: open("notifications", notificationsConnections), Listen: databases.options("notifications", 0),
		Accounts:  accountspb.NewAccountsClient(srv.Channel()),
		Following: followingpb.NewFollowingClient(srv.Channel()),
		Metrics:   registry, Log: a.log,
	})
	transfersModule := transfers.New(transfers.Needs{
		Talks: talkspb.NewTalksClient(srv.Channel()), Channels: talkspb.NewChannelsClient(srv.Channel()),
	})
	if databases.err != nil {
		return databases.err
	}
	for _, module := range []interface{ Register(grpc.ServiceRegistrar) }{accountsModule, talksModule, followingModule, notificationsModule, transfersModule} {
		module.Register(srv)
	}

	listener, err := listen("listen-address", "LISTEN_ADDRESS", a.settings.listenAddress)
	if err != nil {
		return err
	}
	adminListener, err := listen("admin-address", "ADMIN_ADDRESS", a.settings.adminAddress)
	if err != nil {
		return err
	}
	a.log.Info("serving", "address", listener.Addr().String(), "admin", adminListener.Addr().String(), "data", a.settings.dataAddress)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAdmin(ctx, adminListener, &a.ready, registry) })
	g.Go(func() error { return srv.Serve(ctx, listener) })
	g.Go(func() error { return a.watchData(ctx, queueDB, srv.SetServing) })
	g.Go(func() error { return broker.Run(ctx) })
	g.Go(func() error { return accountsModule.Run(ctx) })
	g.Go(func() error { return talksModule.Run(ctx) })
	g.Go(func() error { return notificationsModule.Run(ctx) })
	g.Go(func() error {
		// Messages are consumed from the first moment the topology is there;
		// until then publishing fails, which is what an absent database does.
		if !a.declare(ctx, broker) {
			return nil
		}
		consumers, ctx := errgroup.WithContext(ctx)
		for _, c := range notificationsModule.Consumers() {
			consumers.Go(func() error { return broker.Consume(ctx, c) })
		}
		return consumers.Wait()
	})
	err = g.Wait()
	a.log.Info("stopped")
	return err
}

// declare declares the modules' topology as soon as the data tier is there;
// false when ctx ended before.
func (a *app) declare(ctx context.Context, broker *postgresqueue.Queue) bool {
	for {
		declaring, done := context.WithTimeout(ctx, 10*time.Second)
		err := broker.Declare(declaring, talks.Topology(), notifications.Topology())
		done()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.log.Warn("topology not declared yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pingEvery):
		}
	}
}

// watchData asks the data tier whether it is there until ctx ends, and says so.
func (a *app) watchData(ctx context.Context, db *postgres.DB, say func(bool)) error {
	for was := false; ; {
		asking, done := context.WithTimeout(ctx, 2*time.Second)
		name, err := db.ServerName(asking)
		done()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			a.dataHost.Store(&name)
			a.ready.set(nil)
		} else {
			a.ready.set(fmt.Errorf("the data tier at %s (--data-address) does not answer: %w", a.settings.dataAddress, err))
		}
		if is := err == nil; is != was {
			say(is)
			if is {
				a.log.Info("data tier is there", "data", a.settings.dataAddress, "host", name)
			} else {
				a.log.Warn("data tier does not answer", "data", a.settings.dataAddress, "error", err)
			}
			was = is
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pingEvery):
		}
	}
}

func listen(flag, twin, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s (%s) %s: %w: is something else there? use another address", flag, twin, address, err)
	}
	return listener, nil
}
