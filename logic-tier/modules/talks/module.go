// Package talks stores channels and their talks, searches talks, and publishes a message
// for each talk that is published or withdrawn.
//
//	serves      techtalks.talks.v1.Channels, techtalks.talks.v1.Talks
//	depends on  media (processes recordings), operations (finishes their operations)
//	publishes   talk.published, talk.withdrawn and channel.removed, on the exchange
//	            "talks"
//	consumes    media.ready, on the queue "talks.media-ready";
//	            account.closed, on the queue "talks.account-closed"
package talks

import (
	"context"
	"log/slog"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "talks".
	DB *postgres.DB
	// Publisher publishes the module's messages.
	Publisher queue.Publisher
	// Media processes recordings. Work finishes the operations of that processing, and
	// Handles looks them up.
	Media   mediapb.MediaClient
	Work    operationspb.OperationWorkClient
	Handles longrunningpb.OperationsClient
	Log     *slog.Logger
}

// Module is the talks module.
type Module struct {
	deps      Deps
	store     store
	languages languageCache
}

// New returns a module that uses the given dependencies.
func New(d Deps) *Module { return &Module{deps: d, store: store{d.DB}} }

// exchange is the exchange that the module publishes to.
const exchange = "talks"

// Types and routing keys of the module's messages.
const (
	publishedType      = "talk.published"  // the body is a talkspb.TalkPublished
	withdrawnType      = "talk.withdrawn"  // the body is a talkspb.TalkWithdrawn
	channelRemovedType = "channel.removed" // the body is a talkspb.ChannelRemoved
)

const (
	readyQueue  = "talks.media-ready"
	closedQueue = "talks.account-closed"
)

// Topology returns the exchange that the module publishes to and the queues that it
// consumes.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "talks", Publishes: []string{exchange},
		Bodies:    map[string]proto.Message{publishedType: &talkspb.TalkPublished{}, withdrawnType: &talkspb.TalkWithdrawn{}, channelRemovedType: &talkspb.ChannelRemoved{}},
		Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}, {Name: "media", Type: queue.Topic}, {Name: "accounts", Type: queue.Topic}},
		Queues: []queue.Queue{
			{Name: readyQueue, Bindings: []queue.Binding{{Exchange: "media", Pattern: "media.ready"}}},
			{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}},
		},
	}
}

// Consumers returns the consumers of the module's queues.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{
		{Queue: readyQueue, Concurrency: 2, Prefetch: 8, Handle: queue.Idempotent(m.mediaReady)},
		{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)},
	}
}

// Register adds the module's services to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	talkspb.RegisterChannelsServer(r, channelService{module: m})
	talkspb.RegisterTalksServer(r, talkService{module: m})
}

// Run sweeps expired requests, batches and drafts until ctx is done.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
