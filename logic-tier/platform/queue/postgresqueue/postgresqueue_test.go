package postgresqueue_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	"techtalks.example/logic-tier/platform/queue/queuetest"
)

func TestMain(m *testing.M) {
	queuetest.Main(func() { postgrestest.Main(m) }, func(address string) (p queuetest.Process, err error) {
		var options postgres.Options
		if err := json.Unmarshal([]byte(address), &options); err != nil {
			return p, err
		}
		open := func(role string) *postgres.DB {
			options.Role = role
			db, openErr := postgres.Open(options)
			err = errors.Join(err, openErr)
			return db
		}
		p.Module = open("talks")
		p.Engine = postgresqueue.New(open("queue"), options, slog.New(slog.DiscardHandler))
		return p, err
	})
}

// patience bounds each wait for a condition.
const patience = 3 * time.Minute

// fixture is an engine with a separate database, and a module that publishes.
type fixture struct {
	t         *testing.T
	database  *postgrestest.Database
	engine    *postgresqueue.Queue
	module    *postgres.DB
	superuser *sql.DB
}

func newFixture(t *testing.T, topologies ...queue.Topology) *fixture {
	t.Helper()
	database := postgrestest.New(t)
	f := &fixture{t: t, database: database, module: database.Open("talks"), superuser: database.Superuser()}
	f.engine = f.newEngine()
	if err := f.engine.Declare(t.Context(), topologies...); err != nil {
		t.Fatal(err)
	}
	return f
}

// newEngine returns the engine of another process.
func (f *fixture) newEngine() *postgresqueue.Queue {
	return postgresqueue.New(f.database.Open("queue"), f.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// workTopology is one queue that receives all messages of one exchange.
func workTopology(limit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: limit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

func (f *fixture) publish(exchange, key string, bodies ...string) {
	f.t.Helper()
	for _, body := range bodies {
		if err := f.tryPublish(exchange, key, body); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) tryPublish(exchange, key, body string) error {
	return f.module.InTransaction(f.t.Context(), func(tx *postgres.Tx) error {
		_, err := f.engine.Publish(f.t.Context(), tx, queue.Message{Exchange: exchange, RoutingKey: key, Type: "test", Body: wrapperspb.String(body)})
		return err
	})
}

// run runs do until stop is called or the test ends.
func (f *fixture) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	result := make(chan error, 1)
	go func() { result <- do(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(stop)
	return stop
}

func (f *fixture) consume(engine *postgresqueue.Queue, c queue.Consumer) (stop func()) {
	return f.run(func(ctx context.Context) error { return engine.Consume(ctx, c) })
}

// count returns the number that a query selects.
func (f *fixture) count(query string, arguments ...any) (n int) {
	f.t.Helper()
	if err := f.superuser.QueryRowContext(f.t.Context(), query, arguments...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// queueLength counts the messages of a queue.
const queueLength = `select count(*) from queue.message m join queue.queue q on q.id = m.queue_id where q.name = $1`

// until waits until ok reports true.
func (f *fixture) until(condition string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("timed out after %s waiting for %s", patience, condition)
		}
	}
}

// received records the bodies of delivered messages.
type received struct {
	mu     sync.Mutex
	bodies []string
}

func (r *received) add(d queue.Delivery) {
	var body wrapperspb.StringValue
	if err := proto.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, body.Value)
}

// atLeast returns a condition for until: at least n messages were delivered.
func (r *received) atLeast(n int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.bodies) >= n
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Env {
		database := postgrestest.New(t)
		return &queuetest.Env{
			Module: database.Open("talks"), Queue: database.Open("queue"), Superuser: database.Superuser(),
			Engine: func() queue.Broker {
				q := postgresqueue.New(database.Open("queue"), database.Options("queue"), slog.New(slog.DiscardHandler))
				q.SetPollInterval(20 * time.Millisecond)
				return q
			},
			Address: string(ledger.JSON(database.Options("queue"))),
		}
	})
}

func TestModule_CannotReadMessages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	if _, err := f.module.Pool().ExecContext(t.Context(), `select * from queue.message`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v, want permission denied", err)
	}
}

// leaseAndCrash leases all messages, as a consumer that crashes at once.
func (f *fixture) leaseAndCrash(lease time.Duration) {
	f.t.Helper()
	if _, err := f.superuser.ExecContext(f.t.Context(), `update queue.message set lease = 4711, delivery_count = 1, available_at = now() + make_interval(secs => $1)`, lease.Seconds()); err != nil {
		f.t.Fatal(err)
	}
}

func TestConsume_RedeliversWhenLeaseOfCrashedConsumerExpires(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	f.publish("work", "", "x")
	f.leaseAndCrash(time.Second)
	f.engine.SetPollInterval(10 * time.Millisecond)
	f.run(f.engine.Run)
	counts := make(chan int, 1)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		counts <- d.Count
		return nil
	}})
	select {
	case got := <-counts:
		if got != 2 {
			t.Errorf("got delivery %d, want 2: the crashed consumer's was the first", got)
		}
	case <-time.After(patience):
		t.Error("message was not redelivered")
	}
}

// A message that was published or leased while the clock was ahead is not delayed
// until the clock has caught up.
func TestConsume_DeliversWithoutDelayAfterClockIsSetBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	f.publish("work", "", "x")
	if n := f.count(`select count(*) from queue.message where available_at > now() - interval '10 years'`); n > 0 {
		t.Errorf("available_at of %d messages without a delay depends on the clock", n)
	}
	f.leaseAndCrash(time.Hour + time.Second)
	f.publish("work", "", "y")
	f.engine.SetPollInterval(10 * time.Millisecond)
	f.run(f.engine.Run)
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		return nil
	}})
	f.until("both messages", got.atLeast(2))
}

func TestConsume_CancelsHandlerAndDropsAcknowledgementWhenLeaseIsLost(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	f.publish("work", "", "x")
	started, canceled := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := f.consume(f.engine, queue.Consumer{Queue: "work", Lease: 300 * time.Millisecond, Handle: func(ctx context.Context, _ queue.Delivery) error {
		started <- struct{}{}
		<-ctx.Done()
		canceled <- struct{}{}
		return nil // acknowledges, too late
	}})
	<-started
	f.leaseAndCrash(5 * time.Minute)
	<-canceled
	stop()
	if got := f.count(`select count(*) from queue.message where lease = 4711`); got != 1 {
		t.Errorf("got %d messages under the new lease, want 1", got)
	}
}

// A batch leases all rows of whole pages, and each page still has space for the new
// versions: the index does not grow.
func TestLease_IsHeapOnlyUpdate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	const messages = 1000
	if _, err := f.superuser.Exec(`select queue.publish('work', '', 'test', '', '\x0a0161', null, 0, 0) from generate_series(1, $1)`, messages); err != nil {
		t.Fatal(err)
	}
	f.consume(f.engine, queue.Consumer{Queue: "work", Prefetch: 2 * messages, Handle: func(context.Context, queue.Delivery) error { return nil }})
	f.until("an empty queue", func() bool { return f.count(queueLength, "work") == 0 })
	const updates = `select n_tup_upd from pg_stat_user_tables where relid = 'queue.message'::regclass`
	f.until("the leases in the statistics of Postgres", func() bool { return f.count(updates) >= messages })
	if all, heapOnly := f.count(updates), f.count(strings.Replace(updates, "n_tup_upd", "n_tup_hot_upd", 1)); heapOnly != all {
		t.Errorf("got %d heap-only updates of %d leases, want all", heapOnly, all)
	}
}

func TestPublish_NotifiesConsumersOfOtherProcesses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	publisher, consumer := f.engine, f.newEngine()
	consumer.SetPollInterval(time.Hour) // no delivery without a notification
	var got received
	f.run(consumer.Run)
	f.run(publisher.Run)
	f.consume(consumer, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		return nil
	}})
	for i := range 5 {
		f.publish("work", "", fmt.Sprint(i))
		f.until("delivery after a notification", got.atLeast(i+1))
	}
}

func TestConsume_PollsAfterListenerReconnects(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	consumer := f.newEngine()
	consumer.SetPollInterval(time.Hour)
	var got received
	f.run(consumer.Run)
	f.consume(consumer, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		return nil
	}})
	f.run(f.engine.Run)
	f.publish("work", "", "first")
	f.until("delivery after a notification", got.atLeast(1))
	// This publication sends no notification, as if its process had crashed. The same
	// transaction ends the LISTEN connections: a listener that reconnected before the
	// commit would miss the message.
	if _, err := f.superuser.Exec(`
		select queue.publish('work', '', 'test', '', '');
		select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'`); err != nil {
		t.Fatal(err)
	}
	f.until("delivery after the reconnect", got.atLeast(2))
}

// The outbox of another engine holds a new message and a retry when this engine
// takes over; the previous version publishes a third.
func TestDeclare_AdoptsOutboxOfOtherEngineAndMessagesOfPreviousVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, workTopology(0))
	for _, statement := range []string{
		`select queue.put_in_outbox('work', '', 'test', '', '', null, 0, 0)`,
		`insert into queue.outbox (id, queue, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, body)
		 values (4711, 'work', now(), 2, now(), 'work', '', 'test', '', '')`,
		`select queue.publish('work', '', 'test', '', ''::bytea)`,
	} {
		if _, err := f.superuser.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.engine.Declare(t.Context(), workTopology(0)); err != nil {
		t.Fatal(err)
	}
	counts := make(chan int, 3)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		counts <- d.Count
		return nil
	}})
	f.until("an empty queue", func() bool { return f.count(queueLength, "work") == 0 && len(counts) == 3 })
	if sum := <-counts + <-counts + <-counts; sum != 1+3+1 {
		t.Errorf("got delivery counts with the sum %d, want 1+3+1", sum)
	}
}
