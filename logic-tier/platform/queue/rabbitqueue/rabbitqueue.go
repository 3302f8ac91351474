// Package rabbitqueue implements the queue on RabbitMQ 3.10 or later, with quorum
// queues, for more messages than one database should carry.
//
// Publishing inserts a row into the outbox, within the module's transaction, and
// does not need RabbitMQ. A relay ships the outbox in order with publisher
// confirms: it deletes a row once RabbitMQ has the message on disk. An advisory
// lock in the database elects the one process that runs the relay. While RabbitMQ
// is unavailable or blocks publishers, the outbox grows in the database, and
// nothing else does. If a relay dies between a confirm and the deletion, its
// successor ships the message again: delivery is at least once.
//
// RabbitMQ pushes messages to consumers, up to their prefetch, and consumers
// acknowledge each message. The connection is the lease. RabbitMQ notices a killed
// process at once and a silent one within 30 s, by heartbeats every 10 s, and then
// redelivers its unacknowledged messages to other consumers. So a handler can take
// as long as it needs. When a consumer loses its connection, it cancels its
// handlers' contexts.
//
// Quorum queues support neither retry backoff nor delayed messages, so both wait in
// the outbox. The consumer stores a failed message there, with its history and
// addressed to its own queue, before it acknowledges the delivery. A draining
// consumer does the same with unhandled messages; RabbitMQ from 4.3 on takes them
// back itself without counting a delivery. Dead letters are stored in the ledger's
// table. Messages that RabbitMQ itself dead-letters reach that table through a
// queue that every process consumes.
//
// Resource use is bounded. A relay has at most window unconfirmed messages and one
// batch in memory; a consumer holds at most its prefetch; every call to RabbitMQ
// has a deadline. An idle process queries the database less than once a second: the
// relay polls every 2 s, the other processes try to become the relay every 3 s, and
// consumers report to the registry every 5 s.
package rabbitqueue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/notify"
)

// Engine is the engine's name.
const Engine = "rabbitmq"

// statementTimeout bounds every SQL statement of the engine. Statements normally
// take a small fraction of it.
const statementTimeout = 5 * time.Second

// consumeRetryInterval is the pause before a consumer looks again for a queue that
// is not declared yet, or for a channel after it lost one.
const consumeRetryInterval = time.Second

// Options configures New.
type Options struct {
	// URL is amqps://host:port/vhost to log in by certificate, or with
	// user:password@ before the host. Several hosts of a cluster are separated by
	// commas.
	URL string
	// Certificates is the directory with ca.crt, logic-tier.crt, logic-tier.key.
	Certificates string
	// DB is a pool of the role "queue". Listen opens the one connection on which
	// the engine receives notifications.
	DB     *postgres.DB
	Listen postgres.Options
	Log    *slog.Logger
}

// Queue implements queue.Broker.
type Queue struct {
	address            address
	db                 *postgres.DB
	log                *slog.Logger
	notifier           *notify.Notifier
	registry           *ledger.Registry
	consumerConnection *consumerConnection
	// relayHealth is the relay's, if this process runs it.
	relayHealth    health
	maxUnconfirmed atomic.Int64 // messages, for tests

	mu              sync.Mutex
	declared        queue.Topology // by this process
	declaredVersion int            // incremented by Declare
	appliedVersion  int            // declaredVersion that RabbitMQ and the ledger have
	subscriptions   map[*subscription]bool

	depthsQuery chan struct{} // holds an entry while RabbitMQ is queried for depths
}

// New returns the engine. It opens no connection, so RabbitMQ can be unavailable.
// It returns an error if the URL or the certificates are invalid.
func New(o Options) (*Queue, error) {
	a, err := parseAddress(o.URL, o.Certificates)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		address: a, db: o.DB, log: o.Log, notifier: notify.New(o.DB, o.Listen, o.Log), registry: ledger.NewRegistry(Engine),
		subscriptions: map[*subscription]bool{}, depthsQuery: make(chan struct{}, 1),
	}
	q.consumerConnection = newConsumerConnection(q)
	return q, nil
}

// connectionName names a connection after its purpose. RabbitMQ's management page
// shows the name.
func (q *Queue) connectionName(purpose string) string {
	return "logic-tier " + q.registry.Process + " " + purpose
}

// Publish adds m to a transaction; see queue.Publisher.
func (q *Queue) Publish(ctx context.Context, tx postgres.Querier, m queue.Message) (int64, error) {
	e, err := m.Encode(ctx)
	if err == nil {
		err = checkEncodable(m.Exchange, "", m.RoutingKey, m.Type, m.Headers)
	}
	var id int64
	if err == nil {
		id, err = putInOutbox(ctx, tx, e)
	}
	if err != nil {
		return 0, fmt.Errorf("publish %s to exchange %q: %w", m.Type, m.Exchange, err)
	}
	tx.AfterCommit(func() { q.notifier.Notify(notify.Outbox) })
	return id, nil
}

// Run runs the relay, notifications, sweeps, and the consumer of messages that
// RabbitMQ dead-letters, until ctx ends; see queue.Broker.
func (q *Queue) Run(ctx context.Context) error {
	q.consumerConnection.acquire()
	defer q.consumerConnection.release()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.notifier.Run(ctx) })
	g.Go(func() error { return q.relay(ctx) })
	g.Go(func() error { return q.consumeDeadLetters(ctx) })
	g.Go(func() error { return q.reportConsumers(ctx) })
	g.Go(func() error { return ledger.Sweep(ctx, q.db, q.log) })
	return g.Wait()
}

// reportConsumers stores this process's consumers whenever a report is due, until
// ctx ends.
func (q *Queue) reportConsumers(ctx context.Context) error {
	for notify.Sleep(ctx, time.Second) {
		q.storeConsumers(ctx)
	}
	return nil
}

func (q *Queue) storeConsumers(ctx context.Context) {
	beat, due := q.registry.Heartbeat()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if err := beat.Write(ctx, q.db); err != nil {
		q.registry.HeartbeatFailed()
		if ctx.Err() == nil {
			q.log.Warn("queue: cannot store the list of consumers; retrying", "error", err)
		}
	}
}

// Redrive redelivers dead letters; see queue.Broker.
func (q *Queue) Redrive(ctx context.Context, name string, ids []int64) (int, error) {
	n, err := redrive(ctx, q.db, name, ids)
	if err == nil && n > 0 {
		q.notifier.Notify(notify.Outbox)
	}
	return n, err
}

// Registry returns the consumers of this process.
func (q *Queue) Registry() *ledger.Registry { return q.registry }

// Up returns nil if RabbitMQ is connected and accepts messages, and otherwise the
// reason.
func (q *Queue) Up() error {
	if err := q.consumerConnection.health.get(); err != nil {
		return err
	}
	return q.relayHealth.get()
}

// health holds the current error of a component, nil while it is healthy.
type health struct {
	mu  sync.Mutex
	err error
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// set stores err and reports whether it differs from the previous error.
func (h *health) set(err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	same := (err == nil) == (h.err == nil) && (err == nil || err.Error() == h.err.Error())
	h.err = err
	return !same
}

var _ queue.Broker = (*Queue)(nil)
