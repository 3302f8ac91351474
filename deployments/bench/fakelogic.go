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

// standIn is as much of a logic tier as one web tier needs to deliver: it has
// nothing to do but say what arrived, so that the web tier alone is measured.
type standIn struct {
	notificationspb.UnimplementedNotificationsServer
	operationspb.UnimplementedOperationStreamsServer
	server  *grpc.Server
	address string

	mu            sync.Mutex
	stream        notificationspb.Notifications_StreamNotificationsServer
	subscriptions []uint64
	arrived       int64
}

func newStandIn(certificates string) (*standIn, error) {
	own, err := transport.ServerCredentials(certificates, transport.LogicTier)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &standIn{server: grpc.NewServer(grpc.Creds(own)), address: listener.Addr().String()}
	notificationspb.RegisterNotificationsServer(s.server, s)
	operationspb.RegisterOperationStreamsServer(s.server, s)
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

// StreamNotifications subscribes whoever asks.
func (s *standIn) StreamNotifications(stream notificationspb.Notifications_StreamNotificationsServer) error {
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
		if added := request.GetSubscribe(); added != nil {
			s.mu.Lock()
			s.subscriptions = append(s.subscriptions, added.Subscription)
			err = stream.Send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
				Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: added.Subscription}}})
			s.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// StreamOperations follows none: there is no work here.
func (s *standIn) StreamOperations(stream operationspb.OperationStreams_StreamOperationsServer) error {
	<-stream.Context().Done()
	return nil
}

// GetInbox says from where a new browser goes on.
func (s *standIn) GetInbox(context.Context, *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &notificationspb.GetInboxResponse{Cursor: fmt.Sprint("epoch-", s.arrived)}, nil
}

// publish says that events arrived, to all.
func (s *standIn) publish(events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range events {
		s.arrived++
		err := s.stream.Send(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{
			Arrived: &notificationspb.StreamNotificationsResponse_Arrived{Subscriptions: s.subscriptions, Notification: &notificationspb.Notification{
				Id: fmt.Sprint("epoch-", s.arrived), Talk: fmt.Sprint("channels/bench-live/talks/live-talk-", s.arrived), Title: fmt.Sprint("Live talk ", s.arrived),
				Channel: "channels/bench-live", ChannelTitle: "Bench bench-live", PublishTime: timestamppb.New(time.Now()),
			}}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget is called between audiences.
func (s *standIn) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions = nil
}

// measureWeb does with a web tier over a stand-in what audience.measure does
// with the whole site.
func (s *standIn) measureWeb(ctx context.Context, program, address string, n int) (h heard, err error) {
	pids := processes(program)
	before := resident(pids)
	s.forget()
	all, err := open(ctx, address, n, func(n int) string { return follow(n + 1) })
	if err != nil {
		return h, err
	}
	defer all.close()
	h.web = (resident(pids) - before) / float64(n)
	return h, all.measure(ctx, &h, s.publish)
}
