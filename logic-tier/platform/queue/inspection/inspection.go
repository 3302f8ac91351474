// Package inspection shows those who run the system what is in the message queue,
// whichever engine carries it: the topology, what waits, who consumes, dead
// letters; and lets them try it with messages that do nothing.
package inspection

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// Needs is what the service is given.
type Needs struct {
	// DB is a pool of the role "queue".
	DB *postgres.DB
	// Broker is the engine, and Engine its name.
	Broker queue.Broker
	Engine string
	// Up says why the broker does not answer; nil when it does.
	Up func() error
	// Registry says which process this is.
	Registry *ledger.Registry
	// Topologies is what the modules declare.
	Topologies []queue.Topology
	Log        *slog.Logger
}

// Service answers techtalks.queue.v1.Queues.
type Service struct {
	queuepb.UnimplementedQueuesServer
	needs    Needs
	store    store
	topology topology

	mu       sync.Mutex
	watchers map[*watcher]bool
	watched  chan struct{} // capacity 1: somebody begins to watch
	samples  []sample      // the last few seconds', oldest first
	draining chan struct{}
}

// New returns the service. Its topology is part of what must be declared, beside
// the modules'.
func New(n Needs) *Service {
	return &Service{
		needs: n, store: store{n.DB}, topology: newTopology(append(n.Topologies[:len(n.Topologies):len(n.Topologies)], Topology())),
		watchers: map[*watcher]bool{}, watched: make(chan struct{}, 1), draining: make(chan struct{}),
	}
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { queuepb.RegisterQueuesServer(r, s) }

// Run takes samples while somebody watches, and removes old test messages, until
// ctx ends; then every stream ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.takeSamples(ctx) })
	g.Go(func() error { return s.sweepTests(ctx) })
	return g.Wait()
}
