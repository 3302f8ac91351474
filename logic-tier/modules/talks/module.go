// Package talks keeps channels and the talks on them, finds talks, and says
// what is published.
//
//	serves      techtalks.talks.v1.Channels, techtalks.talks.v1.Talks
//	depends on  media (processes a recording), operations (finishes what it began)
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "talks".
	DB *postgres.DB
	// Publisher takes what the module says.
	Publisher queue.Publisher
	// Media processes recordings; Work finishes the operations that do, and
	// Handles finds them again.
	Media   mediapb.MediaClient
	Work    operationspb.OperationWorkClient
	Handles longrunningpb.OperationsClient
	Log     *slog.Logger
}

// Module is the talks module.
type Module struct {
	needs     Needs
	store     store
	languages languages
}

// New returns the module.
func New(n Needs) *Module { return &Module{needs: n, store: store{n.DB}} }

// exchange is where the module says what happens to talks.
const exchange = "talks"

// published is the type and routing key of the message that a talk was
// published; its body is a talkspb.TalkPublished.
const published = "talk.published"

// withdrawn is that of the message that a talk was withdrawn; its body is a
// talkspb.TalkWithdrawn.
const withdrawn = "talk.withdrawn"

// removed is that of the message that a channel of a closed account is gone; its
// body is a talkspb.ChannelRemoved.
const removed = "channel.removed"

const (
	readyQueue  = "talks.media-ready"
	closedQueue = "talks.account-closed"
)

// Topology is what the module publishes to, and what it consumes.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "talks", Publishes: []string{exchange},
		Bodies:    map[string]proto.Message{published: &talkspb.TalkPublished{}, withdrawn: &talkspb.TalkWithdrawn{}, removed: &talkspb.ChannelRemoved{}},
		Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}, {Name: "media", Type: queue.Topic}, {Name: "accounts", Type: queue.Topic}},
		Queues: []queue.Queue{
			{Name: readyQueue, Bindings: []queue.Binding{{Exchange: "media", Pattern: "media.ready"}}},
			{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}},
		},
	}
}

// Consumers is who works the module's queue.
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

// Run sweeps what is no longer needed until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
