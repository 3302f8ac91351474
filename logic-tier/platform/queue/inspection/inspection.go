// Package inspection serves the operators' view of the message queue, for any
// engine: topology, depths, rates, consumers and dead letters. Operators can also
// send test messages, which have no effect, to see how they are routed.
package inspection

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// Deps holds the service's dependencies.
type Deps struct {
	// DB is a pool of the role "queue".
	DB *postgres.DB
	// Broker is the engine, and Engine its name.
	Broker queue.Broker
	Engine string
	// BrokerHealth returns why the broker is unavailable, or nil.
	BrokerHealth func() error
	// Registry identifies this process and its host.
	Registry *ledger.Registry
	// Topologies are the modules' topologies.
	Topologies []queue.Topology
	Log        *slog.Logger
}

// Service implements techtalks.queue.v1.Queues.
type Service struct {
	queuepb.UnimplementedQueuesServer
	deps     Deps
	store    store
	topology topology

	mu       sync.Mutex
	watchers map[*watcher]bool
	watched  chan struct{} // capacity 1: signals a new watcher
	samples  []sample      // of the last few seconds, oldest first
	draining chan struct{}
}

// New returns the service. Declare Topology together with the modules' topologies.
func New(deps Deps) *Service {
	return &Service{
		deps: deps, store: store{deps.DB}, topology: newTopology(append(slices.Clone(deps.Topologies), Topology())),
		watchers: map[*watcher]bool{}, watched: make(chan struct{}, 1), draining: make(chan struct{}),
	}
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { queuepb.RegisterQueuesServer(r, s) }

// Run takes samples for watchers and deletes old test messages until ctx ends. Then
// it ends all streams.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.takeSamples(ctx) })
	g.Go(func() error { return s.sweepTestMessages(ctx) })
	return g.Wait()
}
