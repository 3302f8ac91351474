// Command health exits with 0 when the broker on this host takes connections. What
// RabbitMQ brings for it starts an Erlang machine each time, a second's work.
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
	// timeout is how long silence counts as an answer.
	timeout = 3 * time.Second
)

func main() {
	ctx, done := context.WithTimeout(context.Background(), timeout)
	defer done()
	if err := broker.Answers(ctx, address, certificates); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}
