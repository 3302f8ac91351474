package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
)

// Pool sizes of a publisher and of a consumer, as in the logic tier.
const (
	publishConnections = 24
	consumeConnections = 8
)

// module publishes and consumes like a module of the logic tier, with one of the queue's engines.
type module struct {
	db     *postgres.DB // publishes
	queues *postgres.DB
	broker queue.Broker
	stop   func() error // stops the broker's Run; nil if it does not run
}

// benchQueue is the queue that receives all messages, through a topic exchange like those of the
// modules.
const benchQueue = "bench"

var benchTopology = queue.Topology{
	Module: "bench", Role: "talks", Publishes: []string{benchQueue}, Bodies: map[string]proto.Message{"bench.published": &wrapperspb.Int64Value{}},
	Exchanges: []queue.Exchange{{Name: benchQueue, Type: queue.Topic}},
	Queues:    []queue.Queue{{Name: benchQueue, Bindings: []queue.Binding{{Exchange: benchQueue, Pattern: "bench.published"}}}},
}

func (s *site) database(role string, connections int) postgres.Options {
	return postgres.Options{Address: s.data, Certificates: s.certificates(), Role: role, MaxConnections: connections}
}

// module opens a module with an engine. Call run to start the engine.
func (s *site) module(ctx context.Context, engine func(db *postgres.DB, listen postgres.Options, log *slog.Logger) (queue.Broker, error)) (_ *module, err error) {
	m := &module{}
	if m.db, err = postgres.Open(s.database("talks", publishConnections)); err != nil {
		return nil, err
	}
	if m.queues, err = postgres.Open(s.database("queue", consumeConnections)); err != nil {
		return nil, errors.Join(err, m.close())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if m.broker, err = engine(m.queues, s.database("queue", 0), log); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if err := m.broker.Declare(ctx, benchTopology); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// run runs the engine in the background until close.
func (m *module) run(ctx context.Context) { m.stop = inBackground(ctx, m.broker.Run) }

// inBackground calls run in a goroutine. The returned function cancels it and waits for its error.
func inBackground(ctx context.Context, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func (m *module) publish(ctx context.Context, in postgres.Querier, body int64) error {
	_, err := m.broker.Publish(ctx, in, queue.Message{
		Exchange: benchQueue, RoutingKey: "bench.published", Type: "bench.published", Body: wrapperspb.Int64(body),
	})
	return err
}

// publishWith publishes messages in one transaction.
func (m *module) publishWith(ctx context.Context, bodies ...int64) error {
	return m.db.InTransaction(ctx, func(tx *postgres.Tx) error {
		for _, body := range bodies {
			if err := m.publish(ctx, tx, body); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *module) consume(ctx context.Context, handle func(body int64)) (func() error, error) {
	return inBackground(ctx, func(ctx context.Context) error {
		return m.broker.Consume(ctx, queue.Consumer{Queue: benchQueue, Prefetch: queuePrefetch, Concurrency: queueWorkers,
			Handle: queue.Idempotent(func(_ context.Context, _ queue.Delivery, body *wrapperspb.Int64Value) error {
				handle(body.Value)
				return nil
			})})
	}), nil
}

func (m *module) close() (err error) {
	if m.stop != nil {
		err = m.stop()
		m.stop = nil
	}
	for _, db := range []*postgres.DB{m.db, m.queues} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// queuePrefetch is the number of messages that a consumer holds. Large batches make a queue in a
// database fast.
const queuePrefetch = 2000

// openPostgresQueue opens our queue in Postgres with all features enabled.
func openPostgresQueue(ctx context.Context, s *site, _ *sql.DB) (*contender, error) {
	m, err := s.module(ctx, func(db *postgres.DB, listen postgres.Options, log *slog.Logger) (queue.Broker, error) {
		return postgresqueue.New(db, listen, log), nil
	})
	if err != nil {
		return nil, err
	}
	m.run(ctx)
	return &contender{
		name:        "TechTalks",
		settings:    fmt.Sprintf("postgresqueue on lib/pq, one consumer of %d handlers, prefetch %d", queueWorkers, queuePrefetch),
		publish:     func(ctx context.Context, body int64) error { return m.publish(ctx, m.db, body) },
		publishWith: func(ctx context.Context, body int64) error { return m.publishWith(ctx, body) },
		consume:     m.consume,
		pending:     `select exists (select from queue.message where queue_id = (select id from queue.queue where name = '` + benchQueue + `'))`,
		clear:       `truncate queue.message`,
		close:       m.close,
	}, nil
}
