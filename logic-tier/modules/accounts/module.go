// Package accounts knows who someone is: it signs people up and in, and says
// whose a session is.
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "accounts".
	DB *postgres.DB
	// Publisher takes what the module publishes.
	Publisher queue.Publisher
	// Operators are the handles of accounts that may see and mend what serves
	// everybody.
	Operators []string
	Log       *slog.Logger
}

// Module is the accounts module.
type Module struct {
	needs Needs
	store store
	// hashing bounds the memory of the passwords being hashed, 19 MiB each. The
	// server queues the calls that hash one, and lets no more run at a time.
	hashing chan struct{}
}

// New returns the module.
func New(n Needs) *Module {
	return &Module{needs: n, store: store{n.DB}, hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

const (
	// exchange is where the module publishes what happens to accounts.
	exchange = "accounts"
	// closed is the type and routing key of the message that an account was closed;
	// its body is an accountspb.AccountClosed.
	closed = "account.closed"
)

// Topology is what the module publishes to.
func Topology() queue.Topology {
	return queue.Topology{
		Module: "accounts", Publishes: []string{exchange},
		Bodies:    map[string]proto.Message{closed: &accountspb.AccountClosed{}},
		Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}},
	}
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	accountspb.RegisterAccountsServer(r, service{module: m})
}

// Run sweeps what has expired until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
