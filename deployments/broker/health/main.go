// Command health exits with status 0 if the broker on this host accepts connections. It
// replaces RabbitMQ's own health check, which takes a second to start an Erlang VM each time.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"techtalks.example/deployments/broker"
)

const (
	address      = "127.0.0.1:5671"
	certificates = "/certificates"
	// timeout bounds the check; a broker that does not answer within it is unhealthy.
	timeout = 3 * time.Second
)

func main() {
	ctx, done := context.WithTimeout(context.Background(), timeout)
	defer done()
	if err := broker.Ping(ctx, address, certificates); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}
