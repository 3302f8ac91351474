// Package operations keeps the handles on long work: how far it is, how it
// ended, and whether it is to stop.
//
//	serves      google.longrunning.Operations (AIP-151), for people;
//	            techtalks.operations.v1.OperationStreams, the push;
//	            techtalks.operations.v1.OperationWork, for the modules that do the work
//	depends on  accounts (whose a subscriber's session is)
//	publishes   operation.started, operation.ended, on the exchange "operations"
//	consumes    account.closed, on the queue "operations.account-closed"
//
// The work itself is done by whoever consumes operation.started; see package
// work for how.
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "operations"; Listen makes the connection that
	// changes are heard on.
	DB     *postgres.DB
	Listen postgres.Options
	// Publisher takes what the module says.
	Publisher queue.Publisher
	// Accounts says whose a subscriber's session is.
	Accounts accountspb.AccountsClient
	// Sessions notices that a subscriber's session ended.
	Sessions *sessions.Watch
	Log      *slog.Logger
}

// Module is the operations module.
type Module struct {
	needs Needs
	store store
	live  *live

	currentEpoch atomic.Pointer[string]
}

// New returns the module.
func New(n Needs) *Module { return &Module{needs: n, store: store{n.DB}, live: newLive()} }

// Topology is what the module publishes to.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "operations", Publishes: []string{work.Exchange},
		Bodies: map[string]proto.Message{
			work.Started: &operationspb.OperationStarted{}, work.Ended: &operationspb.OperationEnded{},
		},
		Exchanges: []queue.Exchange{{Name: work.Exchange, Type: queue.Topic}, {Name: "accounts", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}}},
	}
}

// Register adds the module's services to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	longrunningpb.RegisterOperationsServer(r, handleService{module: m})
	operationspb.RegisterOperationWorkServer(r, workService{module: m})
	operationspb.RegisterOperationStreamsServer(r, streamService{module: m})
}

// Run passes changes on and removes what is no longer kept until ctx ends; then
// every stream and every wait ends.
func (m *Module) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.deliverLive(ctx) })
	g.Go(func() error { return m.sweep(ctx) })
	return g.Wait()
}

// epoch returns the database's epoch, read once; the listener's reconnect
// forgets it.
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
