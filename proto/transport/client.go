package transport

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // enables health checks, so that round_robin skips unhealthy replicas
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Reconnects. A program that restarts is back within a second, while gRPC's default backoff
// grows to two minutes. Keepalive detects dead peers.
const (
	reconnectBaseDelay = 100 * time.Millisecond
	reconnectMaxDelay  = 2 * time.Second
	connectTimeout     = 3 * time.Second
	keepaliveTime      = 20 * time.Second
	keepaliveTimeout   = 10 * time.Second
)

// Retries. An idempotent call that fails with UNAVAILABLE is sent up to retryAttempts times:
// almost at once, since another replica can answer, and then for about two seconds, in which
// a database restarts or its standby takes over. A visitor waits about three.
const (
	retryAttempts       = 5
	retryInitialBackoff = "0.05s"
	retryMultiplier     = 3
	retryMaxBackoff     = "1.5s"
)

// Retry throttling (gRFC A6, "Throttling Retry Attempts and Hedged RPCs"). Each UNAVAILABLE
// takes a token, and each other response returns one. With half of the tokens gone, calls are
// not retried: an outage must not multiply the load by five.
const (
	retryTokens = 1000 // the maximum that gRPC allows
	retryRatio  = 1
)

// Dial returns a connection that balances calls over all replicas of a program (round
// robin). address is host:port, dns:///host:port, or several of them separated by commas.
// Names are resolved every few seconds, so that a new replica gets its share soon. A replica
// that is unreachable, or whose health service (gRPC health checking protocol) reports that
// it is not serving, gets no calls.
//
// Dial retries only the methods of files whose contract declares them idempotent. An empty
// request_id is filled in. Dial does not wait for a connection: it connects at the first
// call, and reconnects when the connection is lost.
func Dial(address string, creds credentials.TransportCredentials, files []protoreflect.FileDescriptor, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, err := target(address)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithResolvers(replicaBuilder{}),
		grpc.WithDefaultServiceConfig(serviceConfig(files)),
		grpc.WithChainUnaryInterceptor(requestIDUnary),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectBaseDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMaxDelay},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
	}, options...)...)
}

// serviceConfig returns the balancing, health checking and retries of Dial as JSON (gRPC,
// "Service Config").
func serviceConfig(files []protoreflect.FileDescriptor) string {
	var names []map[string]string
	// Google's contract for long-running operations documents this in prose only (AIP-151).
	for _, method := range []string{"GetOperation", "ListOperations", "CancelOperation"} {
		names = append(names, map[string]string{"service": "google.longrunning.Operations", "method": method})
	}
	for _, file := range files {
		for method := range Methods(file) {
			if idempotency(method) != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN {
				names = append(names, map[string]string{"service": string(method.Parent().FullName()), "method": string(method.Name())})
			}
		}
	}
	config, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []any{map[string]any{"round_robin": map[string]any{}}},
		"healthCheckConfig":   map[string]any{"serviceName": ""},
		"methodConfig": []any{map[string]any{
			"name": names,
			"retryPolicy": map[string]any{
				"maxAttempts": retryAttempts, "initialBackoff": retryInitialBackoff, "maxBackoff": retryMaxBackoff,
				"backoffMultiplier": retryMultiplier, "retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}},
		"retryThrottling": map[string]any{"maxTokens": retryTokens, "tokenRatio": retryRatio},
	})
	if err != nil {
		panic(fmt.Sprintf("transport: encoding the service config: %v", err))
	}
	return string(config)
}
