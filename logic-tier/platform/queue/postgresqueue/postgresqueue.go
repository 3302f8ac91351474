// Package postgresqueue is the default engine of the queue: messages are rows in the
// schema "queue" of the modules' database. Publishing inserts a row in the module's
// transaction. Consumers lease rows in batches with SKIP LOCKED and delete them to
// acknowledge them. No lock is held while a handler runs.
//
// NOTIFY signals new messages. One statement a second also polls all queues of the
// process: it catches lost notifications, and finds messages whose delay, or whose
// crashed consumer's lease, has expired.
//
// The table stays small because acknowledged messages are deleted. A lease changes
// no indexed column, and half of each page is free for it, so it is a heap-only
// update and the index does not grow. Every fetch scans past the deleted rows at the
// head of the queue; autovacuum removes them after a thousand, whatever the table's
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

// pollInterval is the time between polls: a little over a second, so that an idle
// process, whose listening connection also pings, sends few statements.
const pollInterval = 1100 * time.Millisecond

// statementTimeout bounds each statement of the engine: far longer than any takes,
// and far shorter than a lease.
const statementTimeout = 5 * time.Second

// Queue is the engine. It implements queue.Broker.
type Queue struct {
	db       *postgres.DB
	log      *slog.Logger
	notifier *notify.Notifier
	registry *ledger.Registry

	pollInterval time.Duration

	mu        sync.Mutex
	exclusive map[string]queue.Queue // declared exclusive queues
	consuming map[*consumption]bool
}

// New returns the engine on db, a pool of the role "queue". It opens one more
// connection, with the options listen, to LISTEN.
func New(db *postgres.DB, listen postgres.Options, log *slog.Logger) *Queue {
	return &Queue{
		db: db, log: log, pollInterval: pollInterval, notifier: notify.New(db, listen, log), registry: ledger.NewRegistry(Engine),
		exclusive: map[string]queue.Queue{}, consuming: map[*consumption]bool{},
	}
}

// Declare declares topologies; see queue.Broker. It moves messages that another
// engine left in the outbox to their queues.
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
func (q *Queue) Publish(ctx context.Context, db postgres.Querier, m queue.Message) (int64, error) {
	e, err := m.Encode(ctx)
	var p published
	if err == nil {
		p, err = publish(ctx, db, e)
	}
	if err != nil {
		return 0, fmt.Errorf("publish %s to exchange %q: %w", m.Type, m.Exchange, err)
	}
	if len(p.reached) == 0 {
		q.log.Error("queue: no binding matches; message dead-lettered", "message", p.id, "exchange", m.Exchange, "routing_key", m.RoutingKey, "type", m.Type)
	}
	if m.Delay == 0 {
		db.AfterCommit(func() { q.notifier.Notify(p.reached...) })
	}
	return p.id, nil
}

// Run notifies, polls and sweeps until ctx ends; see queue.Broker.
func (q *Queue) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.notifier.Run(ctx) })
	g.Go(func() error { return q.poll(ctx) })
	g.Go(func() error { return ledger.Sweep(ctx, q.db, q.log) })
	return g.Wait()
}

// Depths returns the depths of all queues; see queue.Broker.
func (q *Queue) Depths(ctx context.Context) (map[string]queue.Depth, error) {
	rows, err := depths(ctx, q.db)
	byName := make(map[string]queue.Depth, len(rows))
	for _, d := range rows {
		name := declaredName(d.name)
		sum := byName[name]
		sum.Ready += d.Ready
		sum.Delayed += d.Delayed
		sum.Unacknowledged += d.Unacknowledged
		if !d.Oldest.IsZero() && (sum.Oldest.IsZero() || d.Oldest.Before(sum.Oldest)) {
			sum.Oldest = d.Oldest
		}
		byName[name] = sum
	}
	return byName, err
}

// Redrive moves dead letters back to their queue; see queue.Broker.
func (q *Queue) Redrive(ctx context.Context, name string, ids []int64) (int, error) {
	n := 0
	var reached []int64
	var err error
	if name == ledger.Unroutable {
		reached, n, err = rerouteDeadLetters(ctx, q.db, ids)
	} else {
		reached, n, err = redriveDeadLetters(ctx, q.db, name, ids)
	}
	if err == nil {
		q.notifier.Notify(reached...)
	}
	return n, err
}

// Up returns nil: the broker is the database, which has a health check of its own.
func (q *Queue) Up() error { return nil }

// Registry returns the registry of this process's consumers.
func (q *Queue) Registry() *ledger.Registry { return q.registry }

var _ queue.Broker = (*Queue)(nil)
