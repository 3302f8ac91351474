// Package logicclient is how the web tier asks the logic tier: the connection, what
// every call carries, how long it may take, and what its errors mean to the
// person in front of the browser.
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

// Tier is the logic tier, as the web tier knows it.
type Tier struct {
	Accounts      accountspb.AccountsClient
	Channels      talkspb.ChannelsClient
	Talks         talkspb.TalksClient
	Following     followingpb.FollowingClient
	Notifications notificationspb.NotificationsClient
	Media         mediapb.MediaClient
	Transfers     transferspb.TransfersClient
	Queues        queuepb.QueuesClient
	// Operations are the handles on long work; OperationStreams follows them.
	Operations       longrunningpb.OperationsClient
	OperationStreams operationspb.OperationStreamsClient

	ready   func(context.Context) error // nil: not asked
	closers []io.Closer
}

// Dial returns the logic tier at address: where all its modules are, or some of
// them elsewhere (transport.ParsePeers).
//
// The bytes of files go over a connection of their own: a page does not wait
// behind them, and what is received ahead of a slow browser is bounded.
func Dial(address string, creds credentials.TransportCredentials, more ...grpc.DialOption) (*Tier, error) {
	peers, err := transport.ParsePeers(address)
	if err != nil {
		return nil, err
	}
	if peers.Others() == "" {
		return nil, errors.New("use host:port of the logic tier, and module=host:port for modules that are elsewhere")
	}
	spared, passwords := newThrottles(), newPasswords()
	dial := func(options ...grpc.DialOption) (*transport.Split, error) {
		options = append(append(options, grpc.WithChainUnaryInterceptor(passwords.unary, spared.unary)), more...)
		return transport.NewSplit(peers, func(address string) (*grpc.ClientConn, error) { return dial(address, creds, options...) })
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
	tier := Over(connection)
	tier.Media = mediapb.NewMediaClient(bytes)
	tier.ready, tier.closers = connection.Ready, []io.Closer{connection, bytes}
	return tier, nil
}

func dial(address string, creds credentials.TransportCredentials, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return transport.Dial(address, creds, contracts, append([]grpc.DialOption{
		grpc.WithChainUnaryInterceptor(carry, transport.TraceUnaryClient, timed),
		grpc.WithChainStreamInterceptor(carryStream, transport.TraceStreamClient),
	}, more...)...)
}

// contracts say which calls may be made again.
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

// Over returns the logic tier at the other end of a connection.
func Over(connection grpc.ClientConnInterface) *Tier {
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

// Close closes the connections.
func (t *Tier) Close() (err error) {
	for _, one := range t.closers {
		err = errors.Join(err, one.Close())
	}
	return err
}

type callerKey struct{}

// Caller is on whose behalf a call is made. The web tier proves neither the
// session nor anything else: it passes on.
type Caller struct {
	// Session is the token in the browser's cookie; empty when there is none.
	Session string
	// Address is the browser's.
	Address string
}

// WithCaller returns a context whose calls are made on behalf of c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// carry puts the caller into a call's metadata.
func carry(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(withMetadata(ctx), method, request, response, connection, options...)
}

// carryStream puts the caller into a stream's metadata.
func carryStream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(withMetadata(ctx), description, connection, method, options...)
}

func withMetadata(ctx context.Context) context.Context {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if ok && c.Session != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, transport.SessionKey, c.Session)
	}
	if ok && c.Address != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, transport.ClientAddressKey, c.Address)
	}
	return ctx
}

// Ready says whether the logic tier answers, and can do its work (gRPC health
// checking protocol): each process that a part of it is in.
func (t *Tier) Ready(ctx context.Context) error {
	if t.ready == nil {
		return nil
	}
	if err := t.ready(ctx); err != nil {
		return fmt.Errorf("the logic tier (--logic-address, LOGIC_ADDRESS) at %w", err)
	}
	return nil
}
