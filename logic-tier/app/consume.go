package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/platform/queue"
)

// selectConsumers returns the consumers of the named queues, or all if names is empty.
func selectConsumers(names []string, consumers []queue.Consumer) ([]queue.Consumer, error) {
	if len(names) == 0 {
		return consumers, nil
	}
	var known []string
	for _, c := range consumers {
		known = append(known, c.Queue)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			slices.Sort(known)
			return nil, fmt.Errorf("--queues (QUEUES): no queue %q; there are:\n  %s", name, strings.Join(known, "\n  "))
		}
	}
	return slices.DeleteFunc(consumers, func(c queue.Consumer) bool { return !slices.Contains(names, c.Queue) }), nil
}

const (
	// yieldTimeout bounds how long a message waits while the server is busy: under
	// steady load background work slows down, and does not stop.
	yieldTimeout = time.Second
	// yieldInterval is how often a waiting consumer checks whether the server is busy.
	yieldInterval = 20 * time.Millisecond
)

// yieldWhileBusy returns consumers that pause before each message while busy reports true.
func yieldWhileBusy(consumers []queue.Consumer, busy func() bool) []queue.Consumer {
	consumers = slices.Clone(consumers)
	for i, c := range consumers {
		consumers[i].Handle = func(ctx context.Context, d queue.Delivery) error {
			for deadline := time.Now().Add(yieldTimeout); busy() && time.Now().Before(deadline); {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(yieldInterval):
				}
			}
			return c.Handle(ctx, d)
		}
	}
	return consumers
}

// consume declares the topology and runs the consumers until ctx is cancelled. Until the
// topology is declared, publishing fails as it does while the database is unavailable.
func (p *process) consume(ctx context.Context, broker queue.Broker, topology []queue.Topology, consumers []queue.Consumer) error {
	if declared, err := p.declare(ctx, broker, topology); !declared {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range consumers {
		g.Go(func() error { return broker.Consume(ctx, c) })
	}
	return g.Wait()
}

// declare declares the modules' topology, retrying while the data tier is unavailable. It
// reports false if ctx was cancelled first or on a permanent error.
func (p *process) declare(ctx context.Context, broker queue.Broker, topology []queue.Topology) (bool, error) {
	for lastLog := (time.Time{}); ; {
		declareCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := broker.Declare(declareCtx, topology...)
		cancel()
		switch {
		case err == nil:
			close(p.declared)
			return true, nil
		case ctx.Err() != nil:
			return false, nil
		case queue.IsPermanent(err):
			return false, err
		}
		if time.Since(lastLog) >= logInterval {
			lastLog = time.Now()
			p.log.Warn("topology not declared yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(pingInterval):
		}
	}
}
