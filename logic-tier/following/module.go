// Package following keeps who follows which channel.
//
//	offers  techtalks.following.v1.Following
//	needs   talks (which channel a name is)
//	says    nothing
//	hears   nothing
package following

import (
	"google.golang.org/grpc"

	"techtalks.example/logic-tier/postgres"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "following".
	DB *postgres.DB
	// Channels says which channel a name is.
	Channels talkspb.ChannelsClient
}

// Module is the following module.
type Module struct {
	needs Needs
	store store
}

// New returns the module.
func New(n Needs) *Module { return &Module{needs: n, store: store{n.DB}} }

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	followingpb.RegisterFollowingServer(r, service{module: m})
}
