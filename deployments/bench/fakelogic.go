package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	"techtalks.example/proto/transport"
)

// fakeLogicTier implements the part of the logic tier that one web tier needs to deliver events. It
// does no other work, so that the measurement covers the web tier alone.
type fakeLogicTier struct {
	notificationspb.UnimplementedNotificationsServer
	operationspb.UnimplementedOperationStreamsServer
	server  *grpc.Server
	address string

	mu            sync.Mutex
	stream        notificationspb.Notifications_StreamNotificationsServer
	subscriptions []uint64
	events        int64
}

func newFakeLogicTier(certificates string) (*fakeLogicTier, error) {
	credentials, err := transport.ServerCredentials(certificates, transport.LogicTier)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &fakeLogicTier{server: grpc.NewServer(grpc.Creds(credentials)), address: listener.Addr().String()}
	notificationspb.RegisterNotificationsServer(s.server, s)
	operationspb.RegisterOperationStreamsServer(s.server, s)
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

// StreamNotifications accepts all subscriptions.
func (s *fakeLogicTier) StreamNotifications(stream notificationspb.Notifications_StreamNotificationsServer) error {
	s.mu.Lock()
	s.stream, s.subscriptions = stream, nil
	s.mu.Unlock()
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if subscribe := request.GetSubscribe(); subscribe != nil {
			s.mu.Lock()
			s.subscriptions = append(s.subscriptions, subscribe.Subscription)
			err = stream.Send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
				Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: subscribe.Subscription}}})
			s.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// StreamOperations sends nothing: there are no operations.
func (s *fakeLogicTier) StreamOperations(stream operationspb.OperationStreams_StreamOperationsServer) error {
	<-stream.Context().Done()
	return nil
}

// GetInbox returns the cursor at which a new browser starts.
func (s *fakeLogicTier) GetInbox(context.Context, *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &notificationspb.GetInboxResponse{Cursor: fmt.Sprint("epoch-", s.events)}, nil
}

// publish sends events to all subscriptions.
func (s *fakeLogicTier) publish(events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range events {
		s.events++
		err := s.stream.Send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{
			Arrived: &notificationspb.StreamNotificationsResponse_Arrived{Subscriptions: s.subscriptions, Notification: &notificationspb.Notification{
				Id: fmt.Sprint("epoch-", s.events), Talk: fmt.Sprint("channels/bench-live/talks/live-talk-", s.events), Title: fmt.Sprint("Live talk ", s.events),
				Channel: "channels/bench-live", ChannelTitle: "Bench bench-live", PublishTime: timestamppb.New(time.Now()),
			}}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// reset removes all subscriptions. It is called between audiences.
func (s *fakeLogicTier) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions = nil
}

// measureWeb is like audience.measure, for a web tier in front of the fake logic tier.
func (s *fakeLogicTier) measureWeb(ctx context.Context, program, address string, n int) (h deliveryResult, err error) {
	pids := processes(program)
	before := residentMemory(pids)
	s.reset()
	all, err := open(ctx, address, n, func(n int) string { return follow(n + 1) })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web = (residentMemory(pids) - before) / float64(n)
	return h, all.measure(ctx, &h, s.publish)
}
