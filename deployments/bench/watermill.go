package main

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
)

const (
	watermillBatch = 1_000
	watermillPoll  = 10 * time.Millisecond
)

// watermillTopic is the topic, Watermill's term for a queue.
const watermillTopic = "bench"

func byteaType(string) string { return "bytea" }

// openWatermillQueue opens Watermill as a queue, which deletes acknowledged messages.
func openWatermillQueue(ctx context.Context, s *site, db *sql.DB) (*contender, error) {
	const schema = "watermill_queue"
	c, err := openWatermill(ctx, s, db, schema,
		watermillsql.PostgreSQLQueueSchema{SubscribeBatchSize: watermillBatch, GeneratePayloadType: byteaType},
		watermillsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true})
	if err != nil {
		return nil, err
	}
	c.name = "watermill-sql, queue"
	c.settings = fmt.Sprintf("PostgreSQLQueueSchema with DeleteOnAck on lib/pq, SubscribeBatchSize %d, PollInterval %v", watermillBatch, watermillPoll)
	c.pending = `select exists (select from ` + schema + `.watermill_bench)`
	c.clear = `truncate ` + schema + `.watermill_bench`
	return c, nil
}

// openWatermillLog opens Watermill with its default, a log that keeps all messages.
func openWatermillLog(ctx context.Context, s *site, db *sql.DB) (*contender, error) {
	const schema = "watermill_log"
	c, err := openWatermill(ctx, s, db, schema,
		watermillsql.DefaultPostgreSQLSchema{SubscribeBatchSize: watermillBatch, GeneratePayloadType: byteaType},
		watermillsql.DefaultPostgreSQLOffsetsAdapter{})
	if err != nil {
		return nil, err
	}
	c.name = "watermill-sql, log"
	c.settings = fmt.Sprintf("DefaultPostgreSQLSchema on lib/pq, SubscribeBatchSize %d, PollInterval %v; it deletes no messages", watermillBatch, watermillPoll)
	c.pending = `select exists (select from ` + schema + `.watermill_bench m, ` + schema + `.watermill_offsets_bench o where (m.transaction_id, m."offset") > (o.last_processed_transaction_id, o.offset_acked))`
	c.clear = `truncate ` + schema + `.watermill_bench`
	return c, nil
}

func openWatermill(ctx context.Context, s *site, db *sql.DB, schema string, adapter watermillsql.SchemaAdapter, offsets watermillsql.OffsetsAdapter) (*contender, error) {
	pool, err := s.peer(ctx, db, schema)
	if err != nil {
		return nil, err
	}
	subscriber := func() (*watermillsql.Subscriber, error) {
		return watermillsql.NewSubscriber(watermillsql.BeginnerFromStdSQL(pool), watermillsql.SubscriberConfig{
			SchemaAdapter: adapter, OffsetsAdapter: offsets, PollInterval: watermillPoll, InitializeSchema: true,
		}, watermill.NopLogger{})
	}
	first, err := subscriber()
	if err != nil {
		return nil, err
	}
	if err := first.SubscribeInitialize(watermillTopic); err != nil {
		return nil, err
	}
	publish := func(ctx context.Context, executor watermillsql.ContextExecutor, body int64) error {
		publisher, err := watermillsql.NewPublisher(executor, watermillsql.PublisherConfig{SchemaAdapter: adapter}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		m := message.NewMessage(watermill.NewUUID(), strconv.AppendInt(nil, body, 10))
		m.SetContext(ctx)
		return publisher.Publish(watermillTopic, m)
	}
	return &contender{
		publish: func(ctx context.Context, body int64) error {
			return publish(ctx, watermillsql.BeginnerFromStdSQL(pool), body)
		},
		publishWith: func(ctx context.Context, body int64) error {
			return inTransaction(ctx, pool, func(tx *sql.Tx) error { return publish(ctx, watermillsql.TxFromStdSQL(tx), body) })
		},
		consume: func(ctx context.Context, handle func(int64)) (func() error, error) {
			consumer, err := subscriber()
			if err != nil {
				return nil, err
			}
			messages, err := consumer.Subscribe(ctx, watermillTopic)
			if err != nil {
				return nil, err
			}
			var handlers sync.WaitGroup
			for range queueWorkers {
				handlers.Go(func() {
					for m := range messages {
						body, err := strconv.ParseInt(string(m.Payload), 10, 64)
						if err != nil {
							panic(err)
						}
						handle(body)
						m.Ack()
					}
				})
			}
			return func() error {
				err := consumer.Close()
				handlers.Wait()
				return err
			}, nil
		},
		drain: watermillDrainRatio,
		close: pool.Close,
	}, nil
}
