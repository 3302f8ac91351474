// Package accounts knows who someone is: it signs people up and in, and says
// whose a session is.
//
//	offers  techtalks.accounts.v1.Accounts
//	needs   nothing
//	says    nothing
//	hears   nothing
package accounts

import (
	"context"
	"log/slog"
	"runtime"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/postgres"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "accounts".
	DB *postgres.DB
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

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	accountspb.RegisterAccountsServer(r, service{module: m})
}

// Run sweeps what has expired until ctx ends.
func (m *Module) Run(ctx context.Context) error { return m.sweep(ctx) }
