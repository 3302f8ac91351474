// Package following keeps who follows which channel.
//
//	serves      techtalks.following.v1.Following
//	depends on  talks (which channel a name is)
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "following".
	DB *postgres.DB
	// Channels says which channel a name is.
	Channels talkspb.ChannelsClient
}

// Module is the following module.
type Module struct {
	needs Needs
	store store
}

// New returns the module.
func New(n Needs) *Module { return &Module{needs: n, store: store{n.DB}} }

const (
	closedQueue  = "following.account-closed"
	removedQueue = "following.channel-removed"
)

// Topology is what the module consumes.
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

// Consumers work the module's queues.
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
