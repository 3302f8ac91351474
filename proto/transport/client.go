package transport

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // round_robin leaves out replicas that say they cannot serve
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Pauses before a lost connection is made again. A program that restarts is back
// within a second; gRPC's own default goes up to two minutes.
const (
	firstReconnect   = 100 * time.Millisecond
	longReconnect    = 2 * time.Second
	connectTimeout   = 3 * time.Second
	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// A call that may be made again without harm is made at most retryAttempts
// times, when it is answered with UNAVAILABLE: at once, since another replica may
// answer, and then for about two seconds, in which a database is restarted or its
// standby takes over. A person waits three.
const (
	retryAttempts   = 5
	retryFirst      = "0.05s"
	retryMultiplier = 3
	retryLong       = "1.5s"
)

// Each answer with UNAVAILABLE takes a token, and each other answer gives one back.
// With half of them gone no call is made again until some are back (gRFC A6, "Throttling
// Retry Attempts and Hedged RPCs"): what is away for longer is not asked five times as
// often as it would be if it were there.
const (
	retryTokens = 1000 // as many as gRPC lets
	retryRatio  = 1
)

// Dial returns a connection to every replica of a program that is at address,
// which calls are spread over in turn: host:port, or dns:///host:port, or several
// of them separated by commas. Names are looked up again every few seconds, so that a new
// replica gets its share soon; one that is gone, or whose health service (gRPC
// health checking protocol) says that it cannot serve, gets none.
//
// The methods of files that their contract calls idempotent are retried, and no
// others; a request_id that is empty is filled in. Dial does not wait for anybody to
// be there: a connection is made when it is first needed, and made again when it is
// lost.
func Dial(address string, creds credentials.TransportCredentials, files []protoreflect.FileDescriptor, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, err := target(address)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithResolvers(lookup{}),
		grpc.WithDefaultServiceConfig(serviceConfig(files)),
		grpc.WithChainUnaryInterceptor(identified),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longReconnect},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
	}, more...)...)
}

// serviceConfig is gRPC's own form of what Dial promises (gRPC, "Service Config").
func serviceConfig(files []protoreflect.FileDescriptor) string {
	var names []map[string]string
	// Google's contract of handles says it in words only (AIP-151).
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
				"maxAttempts": retryAttempts, "initialBackoff": retryFirst, "maxBackoff": retryLong,
				"backoffMultiplier": retryMultiplier, "retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}},
		"retryThrottling": map[string]any{"maxTokens": retryTokens, "tokenRatio": retryRatio},
	})
	if err != nil {
		panic(fmt.Sprintf("a service config is made of constants: %v", err))
	}
	return string(config)
}
