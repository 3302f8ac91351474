// Package notifications stores an inbox per account and streams new items to
// connected clients.
//
//	serves      techtalks.notifications.v1.Notifications
//	depends on  following (lists a channel's followers), talks (lists a channel's
//	            earlier publications), accounts (verifies sessions)
//	publishes   nothing
//	consumes    talk.published, on the queue "notifications.talk-published";
//	            operation.ended, on the queue "notifications.operation-ended";
//	            account.closed, on the queue "notifications.account-closed";
//	            channel.removed, on the queue "notifications.channel-removed"
//
// An inbox is ordered by arrival, never by publish time: see store.deliver for how
// an item gets its arrival number, and hub.go for how it reaches connected clients.
package notifications

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/sessions"
	"techtalks.example/logic-tier/platform/work"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "notifications"; Listen configures the
	// connection that receives announcements.
	DB     *postgres.DB
	Listen postgres.Options
	// Accounts verifies a subscriber's session.
	Accounts accountspb.AccountsClient
	// Sessions reports when a subscriber's session ends.
	Sessions *sessions.Watch
	// Following lists a channel's followers.
	Following followingpb.FollowingClient
	// Talks lists what a channel published before a given talk.
	Talks   talkspb.TalksClient
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Module is the notifications module.
type Module struct {
	deps  Deps
	store store
	hub   *hub

	currentEpoch atomic.Pointer[string]
}

// New returns a module that uses the given dependencies.
func New(d Deps) *Module {
	return &Module{deps: d, store: store{d.DB}, hub: newHub(d.Metrics)}
}

// Topology returns the queues that the module consumes. The exchanges belong to other
// modules; publisher and consumer both declare them, as in AMQP, so that either can
// start first.
func Topology() queue.Topology {
	return queue.Topology{
		Module:    "notifications",
		Exchanges: []queue.Exchange{{Name: "talks", Type: queue.Topic}, {Name: work.Exchange, Type: queue.Topic}, {Name: "accounts", Type: queue.Topic}},
		Queues: []queue.Queue{
			{Name: fanOutQueue, Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.published"}}},
			{Name: endedQueue, Bindings: []queue.Binding{{Exchange: work.Exchange, Pattern: work.Ended}}},
			{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}},
			{Name: removedQueue, Bindings: []queue.Binding{{Exchange: "talks", Pattern: "channel.removed"}}},
		},
	}
}

const (
	fanOutQueue  = "notifications.talk-published"
	endedQueue   = "notifications.operation-ended"
	closedQueue  = "notifications.account-closed"
	removedQueue = "notifications.channel-removed"
)

// Consumers returns the consumers of the module's queues. Fan-outs run concurrently, so
// that one to a large channel does not delay one to a small channel.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{
		{Queue: fanOutQueue, Concurrency: 4, Prefetch: 8, Handle: queue.Idempotent(m.talkPublished)},
		{Queue: endedQueue, Concurrency: 2, Prefetch: 8, Handle: queue.Idempotent(m.operationEnded)},
		{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)},
		{Queue: removedQueue, Concurrency: 1, Handle: queue.Idempotent(m.channelRemoved)},
	}
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	notificationspb.RegisterNotificationsServer(r, service{module: m})
}

// Run broadcasts new notifications and trims inboxes until ctx is done; it then closes
// every stream.
func (m *Module) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.listen(ctx) })
	g.Go(func() error { return m.sweep(ctx) })
	return g.Wait()
}

// epoch returns the database's epoch. It caches the epoch until the listener
// reconnects: the epoch changes only when the database is replaced, and no connection
// survives that.
func (m *Module) epoch(ctx context.Context) (string, error) {
	if cached := m.currentEpoch.Load(); cached != nil {
		return *cached, nil
	}
	epoch, err := m.store.epoch(ctx)
	if err == nil {
		m.currentEpoch.Store(&epoch)
	}
	return epoch, err
}
