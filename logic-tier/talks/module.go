// Package talks keeps channels and the talks on them, finds talks, and says
// what is published.
//
//	offers  techtalks.talks.v1.Channels, techtalks.talks.v1.Talks
//	needs   nothing
//	says    talk.published, on the exchange "talks"
//	hears   nothing
package talks

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/queue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "talks".
	DB *postgres.DB
	// Publisher takes what the module says.
	Publisher queue.Publisher
	Log       *slog.Logger
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

// Topology is what the module publishes to.
func Topology() queue.Topology {
	return queue.Topology{Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}}}
}

// Register adds the module's services to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	talkspb.RegisterChannelsServer(r, channelService{module: m})
	talkspb.RegisterTalksServer(r, talkService{module: m})
}

// Run sweeps what is no longer needed until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
