// Package server is the logic tier's gRPC server. It applies the policies common to all
// modules: authentication, deadlines, admission, validation, timing and error mapping.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"techtalks.example/logic-tier/platform/sessions"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// Options configures a Server.
type Options struct {
	// Credentials authenticate the server and its clients.
	Credentials credentials.TransportCredentials
	// Host is this tier's host name, which pages show; DataHost returns the data tier's.
	Host     string
	DataHost func() string
	Metrics  prometheus.Registerer
	Log      *slog.Logger
}

// Server is the logic tier's gRPC server. Modules register their services with
// it before Serve.
type Server struct {
	grpc      *grpc.Server
	channel   *inprocgrpc.Channel
	health    *health.Server
	sessions  accountspb.AccountsClient
	watch     *sessions.Watch
	validator protovalidate.Validator
	metrics   metrics
	log       *slog.Logger
	host      string
	dataHost  func() string

	rules     map[string]rule
	admission *admission
	passwords *passwordQueue
	changes   *transport.Shares // of concurrent writes, by client address
	longPolls chan struct{}
	streams   *streams
}

// New returns a server without services. It reports NOT_SERVING until SetServing(true).
func New(o Options) (*Server, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("create validator: %w", err)
	}
	s := &Server{
		health: health.NewServer(), validator: validator, metrics: newMetrics(o.Metrics), log: o.Log,
		host: o.Host, dataHost: o.DataHost,
		admission: newAdmission(minCalls, maxCalls, o.Metrics), passwords: newPasswordQueue(passwordConcurrency(), maxPasswordCalls),
		changes:   transport.NewShares(maxChanges),
		longPolls: make(chan struct{}, maxLongPolls), streams: newStreams(),
	}
	s.channel = s.newChannel()
	s.grpc = grpc.NewServer(
		grpc.Creds(o.Credentials),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ChainUnaryInterceptor(s.observeUnary, s.admitUnary),
		grpc.ChainStreamInterceptor(s.observeStream, s.admitStream),
		// Detects a peer that disappeared without closing its connection within a minute.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetServing(false)
	return s, nil
}

// SetSessionVerifier sets the client that verifies session tokens. It must be called
// before Serve.
func (s *Server) SetSessionVerifier(accounts accountspb.AccountsClient) { s.sessions = accounts }

// SetSessionWatcher sets the watcher that cancels streams and long polls when their
// sessions end. It must be called before Serve. Without a watcher they outlive their
// sessions.
func (s *Server) SetSessionWatcher(watch *sessions.Watch) { s.watch = watch }

// RegisterService registers a module's service with the network server and with the
// in-process channel that other modules use.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	s.grpc.RegisterService(desc, implementation)
	s.channel.RegisterService(desc, implementation)
}

// SetServing sets the health status of the server and of each of its services.
func (s *Server) SetServing(serving bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, state)
	}
}

// drainTimeout bounds how long Serve waits for calls in flight when it stops. It is
// longer than a page's budget.
const drainTimeout = 5 * time.Second

// Serve serves calls on listener until ctx is cancelled. Then it notifies health watchers
// and clients, accepts no more calls, and waits up to drainTimeout for calls in flight.
// Stream handlers must return when ctx is cancelled.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var err error
	if s.rules, err = accessRules(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.health.Shutdown()
		force := time.AfterFunc(drainTimeout, s.grpc.Stop)
		defer force.Stop()
		s.grpc.GracefulStop()
	})
	err = s.grpc.Serve(listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}
