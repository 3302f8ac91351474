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

// peerTimeout bounds calls to other processes that have no deadline, such as those of
// consumers.
const peerTimeout = 10 * time.Second

// contracts declare which calls between modules are idempotent and can be retried.
var contracts = []protoreflect.FileDescriptor{
	accountspb.File_techtalks_accounts_v1_accounts_proto,
	talkspb.File_techtalks_talks_v1_channels_proto,
	talkspb.File_techtalks_talks_v1_talks_proto,
	followingpb.File_techtalks_following_v1_following_proto,
	mediapb.File_techtalks_media_v1_media_proto,
	operationspb.File_techtalks_operations_v1_operations_proto,
}

// connectModules returns the connection over which modules call each other. It routes
// calls to the modules of this process to local, and all others to their peers.
func connectModules(s settings, local grpc.ClientConnInterface) (*transport.Router, error) {
	localModules := splitList(s.modules)
	if len(localModules) == 0 {
		localModules = transport.Modules
	}
	for _, name := range localModules {
		if !slices.Contains(transport.Modules, name) {
			return nil, fmt.Errorf("--modules (MODULES): no module %q; there are %s", name, strings.Join(transport.Modules, ", "))
		}
	}
	peers, err := transport.ParsePeers(s.peers)
	if err != nil {
		return nil, fmt.Errorf("--peer (PEERS): %w", err)
	}
	for _, name := range transport.Modules {
		if !slices.Contains(localModules, name) && peers.Address(name) == "" {
			return nil, fmt.Errorf("--modules (MODULES) leaves the module %s out, and no peer serves it: set --peer %s=host:port (PEERS), or --peer host:port for all missing modules", name, name)
		}
	}
	credentials, err := transport.ClientCredentials(s.certificates, transport.LogicTier, transport.LogicTier)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, certificatesFix)
	}
	split, err := transport.NewRouter(peers, func(address string) (*grpc.ClientConn, error) {
		return transport.Dial(address, credentials, contracts,
			grpc.WithChainUnaryInterceptor(withDefaultDeadline, transport.TraceUnaryClient), grpc.WithChainStreamInterceptor(transport.TraceStreamClient))
	})
	if err != nil {
		return nil, fmt.Errorf("--peer (PEERS): %w", err)
	}
	split.Route(local, localModules...)
	return split, nil
}

// withDefaultDeadline is an interceptor that adds peerTimeout to calls without a deadline.
func withDefaultDeadline(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, peerTimeout)
		defer cancel()
	}
	return invoke(ctx, method, request, response, connection, options...)
}
