// Package transfers brings catalogues of talks in, and gives archives out.
//
//	serves      techtalks.transfers.v1.Transfers
//	depends on  talks (takes what was brought, gives what is to be archived),
//	            media (has the files), operations (holds the handles)
//	publishes   nothing
//	consumes    operation.started of imports and exports, on the queues
//	            "transfers.import" and "transfers.export"; account.closed, on the
//	            queue "transfers.account-closed"
package transfers

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "transfers".
	DB         *postgres.DB
	Talks      talkspb.TalksClient
	Channels   talkspb.ChannelsClient
	Media      mediapb.MediaClient
	Operations operationspb.OperationWorkClient
	Log        *slog.Logger
}

// Module is the transfers module.
type Module struct {
	needs Needs
	store store
}

// New returns the module.
func New(n Needs) *Module { return &Module{needs: n, store: store{n.DB}} }

// Kinds of the module's operations.
const (
	importKind = "import"
	exportKind = "export"
)

const (
	// importsAtOnce is low, since one import keeps the database busy by itself, and
	// at least two: an account runs one import at a time, so the others are not
	// stuck behind the largest.
	importsAtOnce = 2
	// exportsAtOnce is as low, for the same reasons.
	exportsAtOnce = 2
)

func (m *Module) workers() []work.Worker {
	return []work.Worker{
		{Kind: importKind, Queue: "transfers.import", Concurrency: importsAtOnce, Operations: m.needs.Operations, Do: m.doImport, Log: m.needs.Log},
		{Kind: exportKind, Queue: "transfers.export", Concurrency: exportsAtOnce, Operations: m.needs.Operations, Do: m.doExport, Log: m.needs.Log},
	}
}

// Topology is what the module consumes.
func Topology() (t queue.Topology) {
	for _, w := range new(Module).workers() {
		of := w.Topology()
		t.Module, t.Exchanges = of.Module, of.Exchanges
		t.Queues = append(t.Queues, of.Queues...)
	}
	t.Exchanges = append(t.Exchanges, queue.Exchange{Name: "accounts", Type: queue.Topic})
	t.Queues = append(t.Queues, queue.Queue{Name: closedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}})
	return t
}

// Consumers are who works the module's queues.
func (m *Module) Consumers() (all []queue.Consumer) {
	for _, w := range m.workers() {
		all = append(all, w.Consumer())
	}
	return append(all, queue.Consumer{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)})
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	transferspb.RegisterTransfersServer(r, service{module: m})
}

// callTimeout bounds a call of a neighbour's that answers at once.
const callTimeout = 10 * time.Second

// ask calls a neighbour, and waits for so long at most.
func ask[Q, A any](ctx context.Context, call func(context.Context, Q, ...grpc.CallOption) (A, error), question Q) (A, error) {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	return call(ctx, question)
}

// Run sweeps what is no longer needed until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
