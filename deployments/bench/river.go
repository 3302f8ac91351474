package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// River fetches at most as many jobs as it has free workers, and completes jobs in batches. These are
// the settings of its own benchmark, "river bench"; with few workers it is much slower.
const (
	riverWorkers  = 2_000
	riverCooldown = 2 * time.Millisecond
	riverPoll     = 20 * time.Millisecond
)

// riverJob is the job for a message.
type riverJob struct {
	Body int64 `json:"body"`
}

// Kind returns the type of the job.
func (riverJob) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]
	handle func(int64)
}

// Work handles a message.
func (w *riverWorker) Work(_ context.Context, job *river.Job[riverJob]) error {
	w.handle(job.Args.Body)
	return nil
}

// openRiverOnPQ opens River on lib/pq, the driver that TechTalks uses.
func openRiverOnPQ(ctx context.Context, s *site, db *sql.DB) (*contender, error) {
	const schema = "river_pq"
	pool, err := s.peer(ctx, db, schema)
	if err != nil {
		return nil, err
	}
	c, err := openRiver(ctx, riverdatabasesql.New(pool), schema, func(ctx context.Context, insert func(*sql.Tx) error) error {
		return inTransaction(ctx, pool, insert)
	})
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	c.name = "River on lib/pq"
	c.settings = fmt.Sprintf("MaxWorkers %d, FetchCooldown %v, FetchPollInterval %[3]v; this driver does not support LISTEN, so that River polls", riverWorkers, riverCooldown, riverPoll)
	c.close = pool.Close
	return c, nil
}

// openRiverOnPgx opens River on pgx, its primary driver.
func openRiverOnPgx(ctx context.Context, s *site, db *sql.DB) (*contender, error) {
	const schema = "river_pgx"
	if err := s.createSchema(ctx, db, schema); err != nil {
		return nil, err
	}
	source, err := s.database("talks", 0).Source()
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(strings.ReplaceAll(source, "binary_parameters='no'", "")) // a setting of lib/pq only
	if err != nil {
		return nil, err
	}
	config.MaxConns = publishConnections + consumeConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	c, err := openRiver(ctx, riverpgxv5.New(pool), schema, func(ctx context.Context, insert func(pgx.Tx) error) error {
		return pgx.BeginFunc(ctx, pool, insert)
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	c.name = "River on pgx"
	c.settings = fmt.Sprintf("MaxWorkers %d, FetchCooldown %v, FetchPollInterval %[3]v; woken by LISTEN", riverWorkers, riverCooldown, riverPoll)
	c.close = func() error { pool.Close(); return nil }
	return c, nil
}

func openRiver[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], schema string, inTransaction func(context.Context, func(TTx) error) error) (*contender, error) {
	log := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: log})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	publisher, err := river.NewClient(driver, &river.Config{Schema: schema, Logger: log, FetchCooldown: riverCooldown, FetchPollInterval: riverPoll})
	if err != nil {
		return nil, err
	}
	return &contender{
		publish: func(ctx context.Context, body int64) error {
			_, err := publisher.Insert(ctx, riverJob{body}, nil)
			return err
		},
		publishWith: func(ctx context.Context, body int64) error {
			return inTransaction(ctx, func(tx TTx) error {
				_, err := publisher.InsertTx(ctx, tx, riverJob{body}, nil)
				return err
			})
		},
		consume: func(ctx context.Context, handle func(int64)) (func() error, error) {
			workers := river.NewWorkers()
			river.AddWorker(workers, &riverWorker{handle: handle})
			client, err := river.NewClient(driver, &river.Config{
				Schema: schema, Logger: log, Workers: workers, FetchCooldown: riverCooldown, FetchPollInterval: riverPoll,
				Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: riverWorkers}},
			})
			if err != nil {
				return nil, err
			}
			return func() error { return client.Stop(context.WithoutCancel(ctx)) }, client.Start(ctx)
		},
		pending: `select exists (select from ` + schema + `.river_job where state in ('available', 'running', 'retryable'))`,
		clear:   `truncate ` + schema + `.river_job`,
		drain:   riverDrainRatio, enqueue: riverEnqueueRatio,
	}, nil
}
