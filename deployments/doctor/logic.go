package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"techtalks.example/proto/transport"
)

// checkLogicTier checks an address of the logic tier, and each replica that its name resolves to.
func (s settings) checkLogicTier(creds credentials, a address) check {
	return func(ctx context.Context) []finding {
		ips, found := s.resolve(ctx, a.host)
		var replicas []check
		for _, ip := range ips {
			replicas = append(replicas, s.checkReplica(creds, a, net.JoinHostPort(ip, a.port)))
		}
		return append(found, runParallel(ctx, replicas...)...)
	}
}

// checkReplica checks the port, certificate, authentication and health of one replica.
func (s settings) checkReplica(creds credentials, a address, replica string) check {
	return func(ctx context.Context) []finding {
		found := withDeadline(s.deadline, replica, func(ctx context.Context) finding { return checkOpen(ctx, replica, a.host) })(ctx)
		if !allOK(found) {
			return found
		}
		return append(found, runParallel(ctx,
			s.checkServerCertificate(grpcProtocol, creds, replica, logicTier, expectation{
				program: logicTier, hosts: []string{logicTier}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, fix: "for " + a.host + ", " + certificateFix(logicTier),
			}),
			s.checkClientAuth(grpcProtocol, replica, logicTier, logicTier),
			s.checkHealth(creds, replica, a.host),
		)...)
	}
}

// checkHealth checks the health of one replica (gRPC health checking protocol).
func (s settings) checkHealth(creds credentials, replica, host string) check {
	return withDeadline(s.deadline, replica+", health", func(ctx context.Context) finding {
		credentials, err := transport.ClientCredentials(creds.directory, creds.program, logicTier)
		if err != nil {
			return finding{Verdict: verdictNote, Found: "not checked: no client certificate; see above"}
		}
		conn, err := grpc.NewClient("passthrough:///"+replica, grpc.WithTransportCredentials(credentials))
		if err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(), Fix: "use host:port in LOGIC_ADDRESS"}
		}
		defer conn.Close()
		response, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return finding{Verdict: verdictWrong, Found: err.Error(),
				Fix: fmt.Sprintf("fix certificates marked above first; otherwise see the log of the logic tier on %s", host)}
		}
		if response.Status != healthpb.HealthCheckResponse_SERVING {
			return finding{Verdict: verdictWrong, Found: "status " + response.Status.String(),
				Fix: fmt.Sprintf("on %s, curl 127.0.0.1:9091/readyz returns the reason; doctor -from logic there has more detail", host)}
		}
		return finding{Verdict: verdictOK, Found: "status SERVING, for this host's certificate"}
	})
}
