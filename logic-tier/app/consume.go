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

// chosen returns the consumers of the named queues; no names choose all.
func chosen(names []string, consumers []queue.Consumer) ([]queue.Consumer, error) {
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
			return nil, fmt.Errorf("--queues (QUEUES): there is no queue %q; there are:\n  %s", name, strings.Join(known, "\n  "))
		}
	}
	return slices.DeleteFunc(consumers, func(c queue.Consumer) bool { return !slices.Contains(names, c.Queue) }), nil
}

const (
	// yieldTime bounds how long a message waits for calls that people wait for: under
	// steady load the work in the background becomes slow, and does not stop.
	yieldTime = time.Second
	// yieldLook is how often it is looked whether there is room again.
	yieldLook = 20 * time.Millisecond
)

// yielding has consumers pause before each message while calls need all there is.
func yielding(consumers []queue.Consumer, pressed func() bool) []queue.Consumer {
	consumers = slices.Clone(consumers)
	for i, c := range consumers {
		consumers[i].Handle = func(ctx context.Context, d queue.Delivery) error {
			for until := time.Now().Add(yieldTime); pressed() && time.Now().Before(until); {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(yieldLook):
				}
			}
			return c.Handle(ctx, d)
		}
	}
	return consumers
}

// consume declares the topology and works the queues until ctx ends. Messages are
// consumed from the first moment the topology is there; until then publishing
// fails, which is what an absent database does.
func (a *app) consume(ctx context.Context, broker queue.Broker, topology []queue.Topology, consumers []queue.Consumer) error {
	if declared, err := a.declare(ctx, broker, topology); !declared {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range consumers {
		g.Go(func() error { return broker.Consume(ctx, c) })
	}
	return g.Wait()
}

// declare declares the modules' topology as soon as the data tier is there;
// false when ctx ended before, or for what no waiting mends.
func (a *app) declare(ctx context.Context, broker queue.Broker, topology []queue.Topology) (bool, error) {
	for said := (time.Time{}); ; {
		declaring, done := context.WithTimeout(ctx, 10*time.Second)
		err := broker.Declare(declaring, topology...)
		done()
		switch {
		case err == nil:
			close(a.declared)
			return true, nil
		case ctx.Err() != nil:
			return false, nil
		case queue.IsPermanent(err):
			return false, err
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			a.log.Warn("topology not declared yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(pingEvery):
		}
	}
}
