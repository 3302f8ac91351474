// Package following stores which accounts follow which channels.
//
//	serves      techtalks.following.v1.Following
//	depends on  talks (resolves channel names)
//	publishes   nothing
//	consumes    account.closed, on the queue "following.account-closed";
//	            channel.removed, on the queue "following.channel-removed"
package following

import (
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "following".
	DB *postgres.DB
	// Channels resolves channel names.
	Channels talkspb.ChannelsClient
}

// Module is the following module.
type Module struct {
	deps  Deps
	store store
}

// New returns a module that uses the given dependencies.
func New(d Deps) *Module { return &Module{deps: d, store: store{d.DB}} }

const (
	closedQueue  = "following.account-closed"
	removedQueue = "following.channel-removed"
)

// Topology returns the queues that the module consumes.
func Topology() queue.Topology {
	return queue.Topology{
		Module:    "following",
		Exchanges: []queue.Exchange{{Name: "accounts", Type: queue.Topic}, {Name: "talks", Type: queue.Topic}},
		Queues: []queue.Queue{
			{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}},
			{Name: removedQueue, Bindings: []queue.Binding{{Exchange: "talks", Pattern: "channel.removed"}}},
		},
	}
}

// Consumers returns the consumers of the module's queues.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{
		{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)},
		{Queue: removedQueue, Concurrency: 1, Handle: queue.Idempotent(m.channelRemoved)},
	}
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	followingpb.RegisterFollowingServer(r, service{module: m})
}
