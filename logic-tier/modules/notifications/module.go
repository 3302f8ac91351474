// Package notifications keeps each account's inbox and delivers it as it fills.
//
//	serves      techtalks.notifications.v1.Notifications
//	depends on  following (who follows a channel), talks (what a channel published
//	            before), accounts (whose a session is)
//	publishes   nothing
//	consumes    talk.published, on the queue "notifications.talk-published";
//	            operation.ended, on the queue "notifications.operation-ended";
//	            account.closed, on the queue "notifications.account-closed";
//	            channel.removed, on the queue "notifications.channel-removed"
//
// An inbox is ordered by arrival, never by what it tells of: see
// store.deliver for how an arrival gets its number, and live.go for how it
// reaches whoever is connected.
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "notifications"; Listen makes the connection
	// that announcements are heard on.
	DB     *postgres.DB
	Listen postgres.Options
	// Accounts says whose a subscriber's session is.
	Accounts accountspb.AccountsClient
	// Sessions notices that a subscriber's session ended.
	Sessions *sessions.Watch
	// Following says who is to be told.
	Following followingpb.FollowingClient
	// Talks says what a channel published before a talk.
	Talks   talkspb.TalksClient
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Module is the notifications module.
type Module struct {
	needs Needs
	store store
	live  *live

	currentEpoch atomic.Pointer[string]
}

// New returns the module.
func New(n Needs) *Module {
	m := &Module{needs: n, store: store{n.DB}}
	m.live = newLive(n.Metrics)
	return m
}

// Topology is what the module consumes. The exchanges are others'; they are
// declared on both sides, as in AMQP, so that either may start first.
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

// Consumers is who works the module's queues. Several at once: a big channel's
// fan-out must not hold up a small one's.
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

// Run delivers live and trims inboxes until ctx ends; then every stream ends.
func (m *Module) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.deliverLive(ctx) })
	g.Go(func() error { return m.sweep(ctx) })
	return g.Wait()
}

// epoch returns the database's epoch, read once: it changes only when the
// database is another, and connections do not survive that. The listener's
// reconnect forgets it.
func (m *Module) epoch(ctx context.Context) (string, error) {
	if known := m.currentEpoch.Load(); known != nil {
		return *known, nil
	}
	epoch, err := m.store.epoch(ctx)
	if err == nil {
		m.currentEpoch.Store(&epoch)
	}
	return epoch, err
}
