// Package transfers imports catalogues of talks and exports archives of them.
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

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "transfers".
	DB         *postgres.DB
	Talks      talkspb.TalksClient
	Channels   talkspb.ChannelsClient
	Media      mediapb.MediaClient
	Operations operationspb.OperationWorkClient
	Log        *slog.Logger
}

// Module is the transfers module.
type Module struct {
	deps  Deps
	store store
}

// New returns the module.
func New(d Deps) *Module { return &Module{deps: d, store: store{d.DB}} }

// Kinds of the module's operations.
const (
	importKind = "import"
	exportKind = "export"
)

const (
	// importConcurrency is low, because one import alone keeps the database busy,
	// and at least two: since an account runs one import at a time, other accounts
	// do not queue behind the largest one.
	importConcurrency = 2
	// exportConcurrency is 2 for the same reasons.
	exportConcurrency = 2
)

func (m *Module) workers() []work.Worker {
	return []work.Worker{
		{Kind: importKind, Queue: "transfers.import", Concurrency: importConcurrency, Operations: m.deps.Operations, Do: m.doImport, Log: m.deps.Log},
		{Kind: exportKind, Queue: "transfers.export", Concurrency: exportConcurrency, Operations: m.deps.Operations, Do: m.doExport, Log: m.deps.Log},
	}
}

// Topology returns the exchanges and queues the module uses.
func Topology() (t queue.Topology) {
	for _, w := range new(Module).workers() {
		worker := w.Topology()
		t.Module, t.Exchanges = worker.Module, worker.Exchanges
		t.Queues = append(t.Queues, worker.Queues...)
	}
	t.Exchanges = append(t.Exchanges, queue.Exchange{Name: "accounts", Type: queue.Topic})
	t.Queues = append(t.Queues, queue.Queue{Name: accountClosedQueue, Bindings: []queue.Binding{{Exchange: "accounts", Pattern: "account.closed"}}})
	return t
}

// Consumers returns the consumers of the module's queues.
func (m *Module) Consumers() (consumers []queue.Consumer) {
	for _, w := range m.workers() {
		consumers = append(consumers, w.Consumer())
	}
	return append(consumers, queue.Consumer{Queue: accountClosedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)})
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	transferspb.RegisterTransfersServer(r, service{module: m})
}

// callTimeout bounds a unary call to another module.
const callTimeout = 10 * time.Second

// invoke calls a method of another module with callTimeout.
func invoke[Req, Resp any](ctx context.Context, method func(context.Context, Req, ...grpc.CallOption) (Resp, error), request Req) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return method(ctx, request)
}

// Run deletes expired rows until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
