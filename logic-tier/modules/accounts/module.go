// Package accounts stores accounts and sessions. It signs users up and in, and verifies
// sessions.
//
//	serves      techtalks.accounts.v1.Accounts
//	depends on  nothing
//	publishes   account.closed, on the exchange "accounts"
//	consumes    nothing
package accounts

import (
	"context"
	"log/slog"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a connection pool of the role "accounts".
	DB *postgres.DB
	// Publisher publishes the module's messages.
	Publisher queue.Publisher
	// Operators are the handles of the accounts that can inspect and repair the system.
	Operators []string
	Log       *slog.Logger
}

// Module is the accounts module.
type Module struct {
	deps  Deps
	store store
	// hashing is a semaphore that bounds the memory of concurrent password hashes, 19 MiB
	// each. The server queues the calls that hash a password and admits no more at a time.
	hashing chan struct{}
}

// New returns a module that uses the given dependencies.
func New(d Deps) *Module {
	return &Module{deps: d, store: store{d.DB}, hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

const (
	// exchange is the exchange that the module publishes to.
	exchange = "accounts"
	// closedType is the type and routing key of the message that an account was closed.
	// Its body is an accountspb.AccountClosed.
	closedType = "account.closed"
)

// Topology returns the exchange that the module publishes to.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "accounts", Publishes: []string{exchange},
		Bodies:    map[string]proto.Message{closedType: &accountspb.AccountClosed{}},
		Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}},
	}
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	accountspb.RegisterAccountsServer(r, service{module: m})
}

// Run sweeps expired sessions and attempts until ctx is done.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
