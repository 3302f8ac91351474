// Package rabbitqueue is the queue's engine for more messages than one database
// should carry: they are kept by RabbitMQ, from 3.10 on, in quorum queues.
//
// A message is published by an insert into the outbox, in the module's
// transaction, and so needs no RabbitMQ. A relay ships the outbox in order, one
// process at a time (a lock in the database says which), with publisher confirms:
// a row is deleted when RabbitMQ has the message on disk. While RabbitMQ is away,
// or says that it is full, the outbox grows in the database and nothing else does.
// A relay that dies between the two ships again: at least once.
//
// Consumers get messages pushed, up to their prefetch, and acknowledge by hand.
// The lease is the connection: RabbitMQ notices within 30 s when its heartbeats,
// one every 10 s, stay out, at once when the process is killed, and then delivers
// to others what was not acknowledged. So work may take as long as it does. When
// a consumer loses its connection, its handlers' contexts end.
//
// RabbitMQ knows neither a pause before a retry nor a delay. Such a message waits
// in the outbox: what failed is put there, with its history and for its own queue,
// before it is acknowledged. So is, by a consumer that drains, what it has not
// worked, except that RabbitMQ from 4.3 on takes it back itself without counting
// it as a delivery. Dead letters go to the ledger's table, and so do those of
// RabbitMQ's own, from a queue that every process consumes.
//
// What is bounded: a relay has window messages on their way and a batch in
// memory; a consumer has its prefetch; everything that RabbitMQ is asked has a
// deadline. An idle process asks the database less than once a second: its relay
// looks every two seconds, or asks every three whether it is to be the one, and
// its consumers are written down every five.
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

// statementTimeout bounds every statement of the engine's own: far over what any
// takes.
const statementTimeout = 5 * time.Second

// look is how often a consumer looks for a queue that is not there yet.
const look = time.Second

// Options says where RabbitMQ and the database are.
type Options struct {
	// URL is amqps://host:port/vhost to log in by certificate, or with
	// user:password@ before the host; several hosts of a cluster are separated by
	// commas.
	URL string
	// Certificates is the directory with ca.crt, logic-tier.crt, logic-tier.key.
	Certificates string
	// DB is a pool of the role "queue"; Listen says how to make the one connection
	// that the engine listens on.
	DB     *postgres.DB
	Listen postgres.Options
	Log    *slog.Logger
}

// Queue is the engine. It implements queue.Broker.
type Queue struct {
	address  address
	db       *postgres.DB
	log      *slog.Logger
	notifier *notify.Notifier
	registry *ledger.Registry
	link     *link
	// shippingState is the relay's, when it is this process that ships.
	shippingState state
	mostOnWay     atomic.Int64 // messages, for tests

	mu        sync.Mutex
	declared  queue.Topology // by this process
	version   int            // of what is declared
	settled   int            // the version that RabbitMQ and the ledger have
	consuming map[*consumption]bool

	asking chan struct{} // full while RabbitMQ is asked for depths
}

// New returns the engine. It makes no connection: RabbitMQ may be away. A URL that
// cannot be is an error.
func New(o Options) (*Queue, error) {
	a, err := parseAddress(o.URL, o.Certificates)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		address: a, db: o.DB, log: o.Log, notifier: notify.New(o.DB, o.Listen, o.Log), registry: ledger.NewRegistry(Engine),
		consuming: map[*consumption]bool{}, asking: make(chan struct{}, 1),
	}
	q.link = newLink(q)
	return q, nil
}

// connectionName names a connection, for who looks at RabbitMQ's.
func (q *Queue) connectionName(does string) string {
	return "logic-tier " + q.registry.Process + " " + does
}

// Publish adds m to a transaction; see queue.Publisher.
func (q *Queue) Publish(ctx context.Context, in postgres.Querier, m queue.Message) (int64, error) {
	e, err := m.Encode(ctx)
	if why := unshippable(m.Exchange, "", m.RoutingKey, m.Type, m.Headers); err == nil && why != "" {
		err = fmt.Errorf("%s", why)
	}
	var id int64
	if err == nil {
		id, err = putInOutbox(ctx, in, e)
	}
	if err != nil {
		return 0, fmt.Errorf("publish %s to exchange %q: %w", m.Type, m.Exchange, err)
	}
	in.AfterCommit(func() { q.notifier.Notify(notify.Outbox) })
	return id, nil
}

// Run ships, wakes, sweeps, and buries what RabbitMQ gave up, until ctx ends; see
// queue.Broker.
func (q *Queue) Run(ctx context.Context) error {
	q.link.join()
	defer q.link.leave()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.notifier.Run(ctx) })
	g.Go(func() error { return q.relay(ctx) })
	g.Go(func() error { return q.buryDeadLetters(ctx) })
	g.Go(func() error { return q.beat(ctx) })
	g.Go(func() error { return ledger.Sweep(ctx, q.db, q.log) })
	return g.Wait()
}

// beat writes down who consumes here, when that is due.
func (q *Queue) beat(ctx context.Context) error {
	for notify.Sleep(ctx, time.Second) {
		q.writeBeat(ctx)
	}
	return nil
}

func (q *Queue) writeBeat(ctx context.Context) {
	beat, due := q.registry.Heartbeat()
	if !due {
		return
	}
	ctx, done := context.WithTimeout(ctx, statementTimeout)
	defer done()
	if err := beat.Write(ctx, q.db); err != nil {
		q.registry.HeartbeatFailed()
		if ctx.Err() == nil {
			q.log.Warn("queue: who consumes is not written down; trying again", "error", err)
		}
	}
}

// Redrive delivers dead letters anew; see queue.Broker.
func (q *Queue) Redrive(ctx context.Context, name string, ids []int64) (int, error) {
	n, err := redrive(ctx, q.db, name, ids)
	if err == nil && n > 0 {
		q.notifier.Notify(notify.Outbox)
	}
	return n, err
}

// Registry is who consumes in this process.
func (q *Queue) Registry() *ledger.Registry { return q.registry }

// Up returns nil when RabbitMQ is there and takes messages, and otherwise why not.
func (q *Queue) Up() error {
	if err := q.link.state.get(); err != nil {
		return err
	}
	return q.shippingState.get()
}

// state is how something is: nil when it is well.
type state struct {
	mu  sync.Mutex
	err error
}

func (s *state) get() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// set says whether it is news.
func (s *state) set(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := (err == nil) == (s.err == nil) && (err == nil || err.Error() == s.err.Error())
	s.err = err
	return !same
}

var _ queue.Broker = (*Queue)(nil)
