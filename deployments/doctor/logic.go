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

// logic looks at the logic tier at an address, and at each replica behind its name.
func (s settings) logic(own credentials, a address) check {
	return func(ctx context.Context) []finding {
		ips, found := s.resolve(ctx, a.host)
		var replicas []check
		for _, ip := range ips {
			replicas = append(replicas, s.replica(own, a, net.JoinHostPort(ip, a.port)))
		}
		return append(found, sideBySide(ctx, replicas...)...)
	}
}

func (s settings) replica(own credentials, a address, at string) check {
	return func(ctx context.Context) []finding {
		found := within(s.deadline, at, func(ctx context.Context) finding { return open(ctx, at, a.host) })(ctx)
		if !well(found) {
			return found
		}
		return append(found, sideBySide(ctx,
			s.presented(grpcWire, own, at, logicTier, expected{
				program: logicTier, hosts: []string{logicTier}, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, remedy: "for " + a.host + ", " + remedy(logicTier),
			}),
			s.demands(grpcWire, at, logicTier, logicTier),
			s.serving(own, at, a.host),
		)...)
	}
}

// serving asks one replica whether it can do its work (gRPC health checking protocol).
func (s settings) serving(own credentials, at, host string) check {
	return within(s.deadline, at+", health", func(ctx context.Context) finding {
		credentials, err := transport.ClientCredentials(own.directory, own.program, logicTier)
		if err != nil {
			return finding{Verdict: noted, Found: "not asked: there is no certificate to show; see above"}
		}
		conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(credentials))
		if err != nil {
			return finding{Verdict: wrong, Found: err.Error(), Fix: "use host:port in LOGIC_ADDRESS"}
		}
		defer conn.Close()
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return finding{Verdict: wrong, Found: err.Error(),
				Fix: fmt.Sprintf("if a certificate is wrong above, mend that first; else see the log of the logic tier on %s", host)}
		}
		if answer.Status != healthpb.HealthCheckResponse_SERVING {
			return finding{Verdict: wrong, Found: "it says " + answer.Status.String(),
				Fix: fmt.Sprintf("on %s, curl 127.0.0.1:9091/readyz says why; doctor -from logic there says more", host)}
		}
		return finding{Verdict: fine, Found: "it says SERVING, to this host's certificate"}
	})
}
