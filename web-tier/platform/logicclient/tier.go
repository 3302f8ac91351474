// Package logicclient is the web tier's client of the logic tier: the connections, the
// metadata and budget of every call, client-side throttling, and the translation of errors
// into problems that a page can show.
package logicclient

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/proto/transport"
)

// Tier holds the clients of the logic tier's services.
type Tier struct {
	Accounts      accountspb.AccountsClient
	Channels      talkspb.ChannelsClient
	Talks         talkspb.TalksClient
	Following     followingpb.FollowingClient
	Notifications notificationspb.NotificationsClient
	Media         mediapb.MediaClient
	Transfers     transferspb.TransfersClient
	Queues        queuepb.QueuesClient
	// Operations manages long-running operations; OperationStreams watches them.
	Operations       longrunningpb.OperationsClient
	OperationStreams operationspb.OperationStreamsClient

	ready   func(context.Context) error // nil if the tier is always ready
	closers []io.Closer
}

// Dial returns a Tier that calls the logic tier at address, which can name other addresses
// for some of the modules (see transport.ParsePeers).
//
// Files are transferred over a connection of their own, so that pages do not queue behind
// them, and so that the bytes buffered for slow browsers are bounded.
func Dial(address string, creds credentials.TransportCredentials, options ...grpc.DialOption) (*Tier, error) {
	peers, err := transport.ParsePeers(address)
	if err != nil {
		return nil, err
	}
	if peers.DefaultAddress() == "" {
		return nil, errors.New("use host:port of the logic tier, and module=host:port for modules at other addresses")
	}
	throttles, passwords := newThrottles(), newPasswordCalls()
	dial := func(more ...grpc.DialOption) (*transport.Router, error) {
		all := append(append(more, grpc.WithChainUnaryInterceptor(passwords.unary, throttles.unary)), options...)
		return transport.NewRouter(peers, func(address string) (*grpc.ClientConn, error) { return dial(address, creds, all...) })
	}
	connection, err := dial()
	if err != nil {
		return nil, err
	}
	bytes, err := dial(grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(bytesWindow))
	if err != nil {
		_ = connection.Close()
		return nil, err
	}
	tier := NewTier(connection)
	tier.Media = mediapb.NewMediaClient(bytes)
	tier.ready, tier.closers = connection.Ready, []io.Closer{connection, bytes}
	return tier, nil
}

func dial(address string, creds credentials.TransportCredentials, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return transport.Dial(address, creds, contracts, append([]grpc.DialOption{
		grpc.WithChainUnaryInterceptor(callerUnary, transport.TraceUnaryClient, timesUnary),
		grpc.WithChainStreamInterceptor(callerStream, transport.TraceStreamClient),
	}, options...)...)
}

// contracts document which methods are safe to retry.
var contracts = []protoreflect.FileDescriptor{
	accountspb.File_techtalks_accounts_v1_accounts_proto,
	talkspb.File_techtalks_talks_v1_channels_proto,
	talkspb.File_techtalks_talks_v1_talks_proto,
	followingpb.File_techtalks_following_v1_following_proto,
	notificationspb.File_techtalks_notifications_v1_notifications_proto,
	mediapb.File_techtalks_media_v1_media_proto,
	transferspb.File_techtalks_transfers_v1_transfers_proto,
	queuepb.File_techtalks_queue_v1_queue_proto,
}

// NewTier returns a Tier that makes its calls over connection.
func NewTier(connection grpc.ClientConnInterface) *Tier {
	return &Tier{
		Accounts:      accountspb.NewAccountsClient(connection),
		Channels:      talkspb.NewChannelsClient(connection),
		Talks:         talkspb.NewTalksClient(connection),
		Following:     followingpb.NewFollowingClient(connection),
		Notifications: notificationspb.NewNotificationsClient(connection),
		Media:         mediapb.NewMediaClient(connection),
		Transfers:     transferspb.NewTransfersClient(connection),
		Queues:        queuepb.NewQueuesClient(connection),

		Operations:       longrunningpb.NewOperationsClient(connection),
		OperationStreams: operationspb.NewOperationStreamsClient(connection),
	}
}

// Close closes the connections that Dial opened.
func (t *Tier) Close() (err error) {
	for _, c := range t.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

type callerKey struct{}

// Caller identifies the browser on whose behalf a call is made. The web tier does not
// verify the session; it forwards it.
type Caller struct {
	// Session is the token of the session cookie; empty without one.
	Session string
	// Address is the browser's address (server.ClientAddress).
	Address string
}

// WithCaller returns a context whose calls are made on behalf of c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerUnary adds the caller to a call's metadata.
func callerUnary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(withCallerMetadata(ctx), method, request, response, connection, options...)
}

// callerStream adds the caller to a stream's metadata.
func callerStream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(withCallerMetadata(ctx), description, connection, method, options...)
}

func withCallerMetadata(ctx context.Context) context.Context {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if ok && c.Session != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, transport.SessionKey, c.Session)
	}
	if ok && c.Address != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, transport.ClientAddressKey, c.Address)
	}
	return ctx
}

// Ready returns an error unless every process of the logic tier answers and is healthy
// (gRPC health checking protocol).
func (t *Tier) Ready(ctx context.Context) error {
	if t.ready == nil {
		return nil
	}
	if err := t.ready(ctx); err != nil {
		return fmt.Errorf("the logic tier (--logic-address, LOGIC_ADDRESS) at %w", err)
	}
	return nil
}
