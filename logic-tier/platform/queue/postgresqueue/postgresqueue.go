// Package postgresqueue is the queue's default engine: messages are rows beside
// the modules' own, in the schema "queue". A message is published by an insert
// in the module's transaction, leased with SKIP LOCKED in batches, and deleted
// when it is acknowledged. No lock is held while a handler runs.
//
// Consumers are woken by NOTIFY, and one statement a second looks for all queues
// of the process together: the net under a lost wake, and what finds messages
// whose delay, or whose dead consumer's lease, is over.
//
// The table stays small because messages leave it. A lease changes no indexed
// column and half of each page is free for it, so it is a heap-only update and
// the index does not grow; deleted rows at the head are what every fetch reads
// over, and autovacuum takes them away after a thousand, whatever the table's
// size.
package postgresqueue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/notify"
)

// Engine is the engine's name.
const Engine = "postgres"

// look is how often a process looks without being woken: so that, with the pings
// of the connection that listens, it asks less than once a second.
const look = 1100 * time.Millisecond

// statementTimeout bounds every statement of the engine's own: far over what
// any takes, far under a lease.
const statementTimeout = 5 * time.Second

// Queue is the engine. It implements queue.Broker.
type Queue struct {
	db       *postgres.DB
	log      *slog.Logger
	look     time.Duration
	notifier *notify.Notifier
	registry *ledger.Registry

	mu        sync.Mutex
	exclusive map[string]queue.Queue // as declared
	consuming map[*consumption]bool
}

// New returns the engine on db, a pool of the role "queue"; listen says how to
// make the one connection that it listens on.
func New(db *postgres.DB, listen postgres.Options, log *slog.Logger) *Queue {
	return &Queue{
		db: db, log: log, look: look, notifier: notify.New(db, listen, log), registry: ledger.NewRegistry(Engine),
		exclusive: map[string]queue.Queue{}, consuming: map[*consumption]bool{},
	}
}

// Declare declares topologies; see queue.Broker. What an outbox still holds, from
// when another engine was in use, goes to its queues.
func (q *Queue) Declare(ctx context.Context, topologies ...queue.Topology) error {
	if err := ledger.Declare(ctx, q.db, topologies...); err != nil {
		return err
	}
	q.mu.Lock()
	for _, t := range topologies {
		for _, declared := range t.Queues {
			if declared.Exclusive {
				q.exclusive[declared.Name] = declared
			}
		}
	}
	q.mu.Unlock()
	return adoptOutbox(ctx, q.db)
}

// Publish adds m to a transaction; see queue.Publisher.
func (q *Queue) Publish(ctx context.Context, in postgres.Querier, m queue.Message) (int64, error) {
	e, err := m.Encode(ctx)
	var p published
	if err == nil {
		p, err = publish(ctx, in, e)
	}
	if err != nil {
		return 0, fmt.Errorf("publish %s to exchange %q: %w", m.Type, m.Exchange, err)
	}
	if len(p.reached) == 0 {
		q.log.Error("queue: no binding matches; the message is among the dead letters", "message", p.id, "exchange", m.Exchange, "routing_key", m.RoutingKey, "type", m.Type)
	}
	if m.Delay == 0 {
		in.AfterCommit(func() { q.notifier.Notify(p.reached...) })
	}
	return p.id, nil
}

// Run wakes, looks and sweeps until ctx ends; see queue.Broker.
func (q *Queue) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.notifier.Run(ctx) })
	g.Go(func() error { return q.lookOut(ctx) })
	g.Go(func() error { return ledger.Sweep(ctx, q.db, q.log) })
	return g.Wait()
}

// Depths says how much waits; see queue.Broker.
func (q *Queue) Depths(ctx context.Context) (map[string]queue.Depth, error) {
	read, err := depths(ctx, q.db)
	all := make(map[string]queue.Depth, len(read))
	for _, d := range read {
		name := declaredName(d.name)
		sum := all[name]
		sum.Ready += d.Ready
		sum.Delayed += d.Delayed
		sum.Unacknowledged += d.Unacknowledged
		if !d.Oldest.IsZero() && (sum.Oldest.IsZero() || d.Oldest.Before(sum.Oldest)) {
			sum.Oldest = d.Oldest
		}
		all[name] = sum
	}
	return all, err
}

// Redrive delivers dead letters anew; see queue.Broker.
func (q *Queue) Redrive(ctx context.Context, name string, ids []int64) (int, error) {
	n := 0
	var reached []int64
	var err error
	if name == ledger.Unroutable {
		reached, n, err = rerouteLetters(ctx, q.db, ids)
	} else {
		reached, n, err = redriveLetters(ctx, q.db, name, ids)
	}
	if err == nil {
		q.notifier.Notify(reached...)
	}
	return n, err
}

// Up is nil: the broker is the database, whose absence is told elsewhere.
func (q *Queue) Up() error { return nil }

// Registry is who consumes in this process.
func (q *Queue) Registry() *ledger.Registry { return q.registry }

var _ queue.Broker = (*Queue)(nil)
