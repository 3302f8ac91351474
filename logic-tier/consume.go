package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/queue"
	"techtalks.example/logic-tier/queue/postgresqueue"
)

// consume declares the topology and works the queues until ctx ends. Messages are
// consumed from the first moment the topology is there; until then publishing
// fails, which is what an absent database does.
func (a *app) consume(ctx context.Context, broker *postgresqueue.Queue, topology []queue.Topology, consumers []queue.Consumer) error {
	if !a.declare(ctx, broker, topology) {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range consumers {
		g.Go(func() error { return broker.Consume(ctx, c) })
	}
	return g.Wait()
}

// declare declares the modules' topology as soon as the data tier is there;
// false when ctx ended before.
func (a *app) declare(ctx context.Context, broker *postgresqueue.Queue, topology []queue.Topology) bool {
	for {
		declaring, done := context.WithTimeout(ctx, 10*time.Second)
		err := broker.Declare(declaring, topology...)
		done()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.log.Warn("topology not declared yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pingEvery):
		}
	}
}
