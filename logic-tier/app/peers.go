package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

// peerTimeout bounds a call to another process that has no deadline of its own, as
// those of a consumer have not.
const peerTimeout = 10 * time.Second

// contracts say which calls between modules may be made again.
var contracts = []protoreflect.FileDescriptor{
	accountspb.File_techtalks_accounts_v1_accounts_proto,
	talkspb.File_techtalks_talks_v1_channels_proto,
	talkspb.File_techtalks_talks_v1_talks_proto,
	followingpb.File_techtalks_following_v1_following_proto,
	mediapb.File_techtalks_media_v1_media_proto,
	operationspb.File_techtalks_operations_v1_operations_proto,
}

// newNeighbours returns the connection over which modules call each other: here,
// within this process, for those that are in it; to a peer for the others.
func newNeighbours(s settings, here grpc.ClientConnInterface) (*transport.Split, error) {
	own := names(s.modules)
	if len(own) == 0 {
		own = transport.Modules
	}
	for _, name := range own {
		if !slices.Contains(transport.Modules, name) {
			return nil, fmt.Errorf("--modules (MODULES): there is no module %q; there are %s", name, strings.Join(transport.Modules, ", "))
		}
	}
	peers, err := transport.ParsePeers(s.peers)
	if err != nil {
		return nil, fmt.Errorf("--peer (PEERS): %w", err)
	}
	for _, name := range transport.Modules {
		if !slices.Contains(own, name) && peers.Address(name) == "" {
			return nil, fmt.Errorf("--modules (MODULES) leaves the module %s out, and nobody is named who answers for it: say where it is with --peer %s=host:port (PEERS), or --peer host:port for all that are left out", name, name)
		}
	}
	credentials, err := transport.ClientCredentials(s.certificates, transport.LogicTier, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: make them with deployments/certificates, or say with --certificates (CERTIFICATES) where they are", err)
	}
	all, err := transport.NewSplit(peers, func(address string) (*grpc.ClientConn, error) {
		return transport.Dial(address, credentials, contracts,
			grpc.WithChainUnaryInterceptor(bounded, transport.TraceUnaryClient), grpc.WithChainStreamInterceptor(transport.TraceStreamClient))
	})
	if err != nil {
		return nil, fmt.Errorf("--peer (PEERS): %w", err)
	}
	all.Here(here, own...)
	return all, nil
}

// bounded gives a call a deadline when it has none.
func bounded(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if _, given := ctx.Deadline(); !given {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, peerTimeout)
		defer done()
	}
	return invoke(ctx, method, request, response, connection, options...)
}
