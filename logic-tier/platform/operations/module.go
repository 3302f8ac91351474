// Package operations tracks long-running operations (AIP-151): their progress,
// their result and requests to cancel them.
//
//	serves      google.longrunning.Operations (AIP-151), for people;
//	            techtalks.operations.v1.OperationStreams, the push;
//	            techtalks.operations.v1.OperationWork, for the modules that do the work
//	depends on  accounts (whose a subscriber's session is)
//	publishes   operation.started, operation.ended, on the exchange "operations"
//	consumes    account.closed, on the queue "operations.account-closed"
//
// The modules that consume operation.started do the work itself; see package
// work.
package operations

import (
	"context"
	"log/slog"
	"sync/atomic"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/sessions"
	"techtalks.example/logic-tier/platform/work"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "operations". Listen configures the
	// connection that receives change notifications.
	DB     *postgres.DB
	Listen postgres.Options
	// Publisher publishes the module's messages.
	Publisher queue.Publisher
	// Accounts resolves a subscriber's session to its account.
	Accounts accountspb.AccountsClient
	// Sessions watches the subscribers' sessions for revocation.
	Sessions *sessions.Watch
	Log      *slog.Logger
}

// Module is the operations module.
type Module struct {
	deps  Deps
	store store
	hub   *hub

	cachedEpoch atomic.Pointer[string]
}

// New returns the module.
func New(d Deps) *Module { return &Module{deps: d, store: store{d.DB}, hub: newHub()} }

// Topology returns the exchanges and queues the module uses.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "operations", Publishes: []string{work.Exchange},
		Bodies: map[string]proto.Message{
			work.Started: &operationspb.OperationStarted{}, work.Ended: &operationspb.OperationEnded{},
		},
		Exchanges: []queue.Exchange{{Name: work.Exchange, Type: queue.Topic}, {Name: "accounts", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: accountClosedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}}},
	}
}

// Register adds the module's services to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	longrunningpb.RegisterOperationsServer(r, operationsService{module: m})
	operationspb.RegisterOperationWorkServer(r, workService{module: m})
	operationspb.RegisterOperationStreamsServer(r, streamService{module: m})
}

// Run broadcasts changes to subscribers and deletes expired operations until ctx
// ends. Open streams and waits then fail with errDraining.
func (m *Module) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.broadcastChanges(ctx) })
	g.Go(func() error { return m.sweep(ctx) })
	return g.Wait()
}

// epoch returns the database's epoch. It is cached until the listener reconnects.
func (m *Module) epoch(ctx context.Context) (string, error) {
	if cached := m.cachedEpoch.Load(); cached != nil {
		return *cached, nil
	}
	epoch, err := m.store.epoch(ctx)
	if err == nil {
		m.cachedEpoch.Store(&epoch)
	}
	return epoch, err
}
