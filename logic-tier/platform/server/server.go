// Package server is what every call to the logic tier passes through, whichever
// module answers it: identity, deadline, admission, validation, timing, errors.
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

// Options says what a server serves and with what.
type Options struct {
	// Credentials prove the server and demand proof of its callers.
	Credentials credentials.TransportCredentials
	// Host is this tier's name on pages; DataHost returns the data tier's.
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
	room      *room
	passwords *passwordQueue
	changes   *transport.Shares // of the calls by which people change something
	waits     chan struct{}
	streams   *streams
}

// New returns a server without services.
func New(o Options) (*Server, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("validation rules: %w", err)
	}
	s := &Server{
		health: health.NewServer(), validator: validator, metrics: newMetrics(o.Metrics), log: o.Log,
		host: o.Host, dataHost: o.DataHost,
		room: newRoom(leastCalls, mostCalls, o.Metrics), passwords: newPasswordQueue(passwordCalls(), maxPasswordCalls),
		changes: transport.NewShares(maxChanges),
		waits:   make(chan struct{}, maxWaits), streams: newStreams(),
	}
	s.channel = s.newChannel()
	s.grpc = grpc.NewServer(
		grpc.Creds(o.Credentials),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.NumStreamWorkers(workers),
		grpc.ChainUnaryInterceptor(s.observeUnary, s.admitUnary),
		grpc.ChainStreamInterceptor(s.observeStream, s.admitStream),
		// A peer that is cut off without a word is noticed within a minute.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetServing(false)
	return s, nil
}

// VerifySessions says who is asked whose a session is. It must be called before
// Serve.
func (s *Server) VerifySessions(accounts accountspb.AccountsClient) { s.sessions = accounts }

// WatchSessions says who notices that the session of a stream or a wait ended. It
// must be called before Serve; without it they outlive their sessions.
func (s *Server) WatchSessions(watch *sessions.Watch) { s.watch = watch }

// RegisterService adds a module's service: to the network and to the channel
// that the other modules call it through.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	s.grpc.RegisterService(desc, implementation)
	s.channel.RegisterService(desc, implementation)
}

// SetServing says through the health service, for the whole server and for each
// service, whether calls can be answered.
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

// drainTime bounds how long calls under way may still take when the server
// stops. Longer than a page's budget.
const drainTime = 5 * time.Second

// Serve answers calls on listener until ctx ends; then it says so to health
// watchers and clients, takes no more calls, and waits a bounded time for those
// under way. Streams must end by themselves when ctx does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var err error
	if s.rules, err = rules(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.health.Shutdown()
		force := time.AfterFunc(drainTime, s.grpc.Stop)
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
