// Package postgresqueue is the queue's default engine: messages are rows beside
// the modules' own, in the schema "queue". A message is published by an insert
// in the module's transaction, leased with SKIP LOCKED in batches, and deleted
// when it is acknowledged. No lock is held while a handler runs.
//
// Consumers are woken by NOTIFY. It is sent after the publishing transaction,
// on a connection of its own and at most every few milliseconds: inside the
// transaction it would make all publishers commit one after the other. A wake
// that is lost costs at most a second: consumers look that often anyway.
package postgresqueue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/queue"
)

// look is how often a consumer looks without being woken: the net under a lost
// wake, and what finds messages whose pause or whose dead consumer's lease is
// over.
const look = time.Second

// Queue is the engine. It implements queue.Publisher.
type Queue struct {
	db     *postgres.DB
	listen postgres.Options
	log    *slog.Logger
	look   time.Duration

	wakes *wakes

	mu    sync.Mutex
	woken map[int]chan struct{} // by queue id: a consumer of this process waits
}

// New returns the engine on db, a pool of the role "queue"; listen says how to
// make the one connection that it listens on.
func New(db *postgres.DB, listen postgres.Options, log *slog.Logger) *Queue {
	return &Queue{db: db, listen: listen, log: log, look: look, wakes: newWakes(), woken: map[int]chan struct{}{}}
}

// Declare makes the exchanges, queues and bindings that are not there yet, and
// removes bindings of the named queues that are no longer declared. An exchange
// of another type than declared is an error: messages published to it would go
// elsewhere than its users think.
func (q *Queue) Declare(ctx context.Context, topologies ...queue.Topology) error {
	return q.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := lockTopology(ctx, tx); err != nil {
			return err
		}
		for _, t := range topologies {
			for _, e := range t.Exchanges {
				found, err := declareExchange(ctx, tx, e)
				if err != nil {
					return err
				}
				if found != e.Type {
					return fmt.Errorf("exchange %q is %s in the database and %s in this program: run one version of it, or declare another name", e.Name, found, e.Type)
				}
			}
		}
		for _, t := range topologies {
			for _, declared := range t.Queues {
				if err := declareQueue(ctx, tx, declared); err != nil {
					return fmt.Errorf("declare queue %q: %w", declared.Name, err)
				}
			}
		}
		return nil
	})
}

// Publish adds m to tx; see queue.Publisher.
func (q *Queue) Publish(ctx context.Context, tx *postgres.Tx, m queue.Message) error {
	reached, err := publish(ctx, tx, m)
	if err != nil {
		return fmt.Errorf("publish %s to exchange %q: %w", m.Type, m.Exchange, err)
	}
	tx.AfterCommit(func() { q.wakes.add(reached) })
	return nil
}

// Run listens for wakes and sends those of this process until ctx ends. It must
// run for Publish to wake consumers at once, here and elsewhere.
func (q *Queue) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.receiveWakes(ctx) })
	g.Go(func() error { return q.sendWakes(ctx) })
	return g.Wait()
}

// wake returns the channel that is filled when a queue may have messages. Its
// capacity of one is enough: it says "look", not how much there is.
func (q *Queue) wake(queueID int) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.woken[queueID]
	if c == nil {
		c = make(chan struct{}, 1)
		q.woken[queueID] = c
	}
	return c
}

func (q *Queue) wakeConsumers(queueIDs ...int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range queueIDs {
		if c := q.woken[id]; c != nil {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

func (q *Queue) wakeAll() {
	q.mu.Lock()
	ids := make([]int, 0, len(q.woken))
	for id := range q.woken {
		ids = append(ids, id)
	}
	q.mu.Unlock()
	q.wakeConsumers(ids...)
}

// statementTimeout bounds every statement of the engine's own: far over what
// any takes, far under a lease.
const statementTimeout = 5 * time.Second
