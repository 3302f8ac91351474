// Package transfers brings catalogues of talks in.
//
//	offers  techtalks.transfers.v1.Transfers
//	needs   talks (takes what was brought)
//	says    nothing
//	hears   nothing
package transfers

import (
	"google.golang.org/grpc"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// Needs is what the module is given. It keeps nothing of its own.
type Needs struct {
	Talks    talkspb.TalksClient
	Channels talkspb.ChannelsClient
}

// Module is the transfers module.
type Module struct{ needs Needs }

// New returns the module.
func New(n Needs) *Module { return &Module{n} }

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	transferspb.RegisterTransfersServer(r, service{module: m})
}
