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
	queuetest.Main(func() { postgrestest.Main(m) }, func(where string) (p queuetest.Process, err error) {
		var at postgres.Options
		if err := json.Unmarshal([]byte(where), &at); err != nil {
			return p, err
		}
		open := func(role string) *postgres.DB {
			at.Role = role
			db, opened := postgres.Open(at)
			err = errors.Join(err, opened)
			return db
		}
		p.Module = open("talks")
		p.Engine = postgresqueue.New(open("queue"), at, slog.New(slog.DiscardHandler))
		return p, err
	})
}

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// site is the engine with a database of its own, and a module that publishes.
type site struct {
	t        *testing.T
	database *postgrestest.Database
	engine   *postgresqueue.Queue
	module   *postgres.DB
	inside   *sql.DB
}

func newSite(t *testing.T, topologies ...queue.Topology) *site {
	t.Helper()
	database := postgrestest.New(t)
	s := &site{t: t, database: database, module: database.Open("talks"), inside: database.Superuser()}
	s.engine = s.another()
	if err := s.engine.Declare(t.Context(), topologies...); err != nil {
		t.Fatal(err)
	}
	return s
}

// another is the engine as another process has it.
func (s *site) another() *postgresqueue.Queue {
	return postgresqueue.New(s.database.Open("queue"), s.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// one is a topology of one queue that gets all of one exchange.
func one(limit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: limit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

func (s *site) publish(exchange, key string, bodies ...string) {
	s.t.Helper()
	for _, body := range bodies {
		if err := s.tryPublish(exchange, key, body); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) tryPublish(exchange, key, body string) error {
	return s.module.InTransaction(s.t.Context(), func(tx *postgres.Tx) error {
		_, err := s.engine.Publish(s.t.Context(), tx, queue.Message{Exchange: exchange, RoutingKey: key, Type: "test", Body: wrapperspb.String(body)})
		return err
	})
}

// run runs something until the returned function is called, or the test ends.
func (s *site) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *site) consume(by *postgresqueue.Queue, c queue.Consumer) (stop func()) {
	return s.run(func(ctx context.Context) error { return by.Consume(ctx, c) })
}

// count asks the database for a number.
func (s *site) count(statement string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.inside.QueryRowContext(s.t.Context(), statement, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

const kept = `select count(*) from queue.message m join queue.queue q on q.id = m.queue_id where q.name = $1`

// until waits for a condition.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

// log is what handlers have seen.
type log struct {
	mu     sync.Mutex
	bodies []string
}

func (l *log) add(d queue.Delivery) string {
	var body wrapperspb.StringValue
	if err := proto.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies = append(l.bodies, body.Value)
	return body.Value
}

func (l *log) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.bodies...)
}

func (l *log) has(n int) func() bool { return func() bool { return len(l.seen()) >= n } }

func TestTheSuite(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) *queuetest.Place {
		database := postgrestest.New(t)
		return &queuetest.Place{
			Module: database.Open("talks"), Queue: database.Open("queue"), Superuser: database.Superuser(),
			Engine: func() queue.Broker {
				q := postgresqueue.New(database.Open("queue"), database.Options("queue"), slog.New(slog.DiscardHandler))
				q.LookEvery(20 * time.Millisecond)
				return q
			},
			Where: string(ledger.JSON(database.Options("queue"))),
		}
	})
}

func TestAModuleReadsNoMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	if _, err := s.module.Pool().ExecContext(t.Context(), `select * from queue.message`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v, want permission denied", err)
	}
}

// vanish leases a queue's messages as a consumer does that dies at once.
func (s *site) vanish(lease time.Duration) {
	s.t.Helper()
	if _, err := s.inside.ExecContext(s.t.Context(), `update queue.message set lease = 4711, delivery_count = 1, available_at = now() + make_interval(secs => $1)`, lease.Seconds()); err != nil {
		s.t.Fatal(err)
	}
}

func TestADeadConsumersMessageIsBackWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	s.publish("work", "", "x")
	s.vanish(time.Second)
	s.engine.LookEvery(10 * time.Millisecond)
	s.run(s.engine.Run)
	counts := make(chan int, 1)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		counts <- d.Count
		return nil
	}})
	select {
	case got := <-counts:
		if got != 2 {
			t.Errorf("delivery counts as %d, want 2: the dead consumer's was the first", got)
		}
	case <-time.After(patience):
		t.Error("it does not come back")
	}
}

// What was published, or put back, or leased, while the clock was ahead, does not wait until
// the clock is there again.
func TestAClockThatIsSetBackHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	s.publish("work", "", "x")
	if n := s.count(`select count(*) from queue.message where available_at > now() - interval '10 years'`); n > 0 {
		t.Error("what is published without a delay depends on the clock")
	}
	s.vanish(time.Hour + time.Second)
	s.publish("work", "", "y")
	s.engine.LookEvery(10 * time.Millisecond)
	s.run(s.engine.Run)
	var l log
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		l.add(d)
		return nil
	}})
	s.until("both messages", l.has(2))
}

func TestWhoLostTheLeaseIsToldAndAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	s.publish("work", "", "x")
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := s.consume(s.engine, queue.Consumer{Queue: "work", Lease: 300 * time.Millisecond, Handle: func(ctx context.Context, _ queue.Delivery) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil // says "done", too late
	}})
	<-began
	s.vanish(5 * time.Minute)
	<-ended
	stop()
	if got := s.count(`select count(*) from queue.message where lease = 4711`); got != 1 {
		t.Error("the message is no longer with who has the lease now")
	}
}

// Whole pages are leased at once, and still there is room on each for the new
// version of every row: the index keeps its size.
func TestALeaseDoesNotTouchTheIndex(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	const messages = 1000
	if _, err := s.inside.Exec(`select queue.publish('work', '', 'test', '', '\x0a0161', null, 0, 0) from generate_series(1, $1)`, messages); err != nil {
		t.Fatal(err)
	}
	s.consume(s.engine, queue.Consumer{Queue: "work", Prefetch: 2 * messages, Handle: func(context.Context, queue.Delivery) error { return nil }})
	s.until("an empty queue", func() bool { return s.count(kept, "work") == 0 })
	const updates = `select n_tup_upd from pg_stat_user_tables where relid = 'queue.message'::regclass`
	s.until("the leases in Postgres's statistics", func() bool { return s.count(updates) >= messages })
	if all, heapOnly := s.count(updates), s.count(strings.Replace(updates, "n_tup_upd", "n_tup_hot_upd", 1)); heapOnly != all {
		t.Errorf("%d of %d leases were heap-only", heapOnly, all)
	}
}

func TestConsumersAreWokenInEveryProcess(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	here, there := s.engine, s.another()
	there.LookEvery(time.Hour) // only a wake brings it
	var seen log
	s.run(there.Run)
	s.run(here.Run)
	s.consume(there, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		seen.add(d)
		return nil
	}})
	for i := range 5 {
		s.publish("work", "", fmt.Sprint(i))
		s.until("delivery by a wake", seen.has(i+1))
	}
}

func TestAfterTheListenersReconnectTheTableIsRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	there := s.another()
	there.LookEvery(time.Hour)
	var seen log
	s.run(there.Run)
	s.consume(there, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		seen.add(d)
		return nil
	}})
	s.run(s.engine.Run)
	s.publish("work", "", "first")
	s.until("delivery by a wake", seen.has(1))
	// The message comes from a transaction whose process never gets to send the
	// wake, while nobody listens: it is the transaction that ends the listening, for
	// who listens again before it is there would not be told.
	if _, err := s.inside.Exec(`
		select queue.publish('work', '', 'test', '', '');
		select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'`); err != nil {
		t.Fatal(err)
	}
	s.until("delivery after the reconnect", seen.has(2))
}

// Messages that another engine's outbox still held when this one took over, those
// of a retry among them, and one that the version before publishes.
func TestNothingIsLeftBehindByAnotherEngineOrVersion(t *testing.T) {
	t.Parallel()
	s := newSite(t, one(0))
	for _, statement := range []string{
		`select queue.put_in_outbox('work', '', 'test', '', '', null, 0, 0)`,
		`insert into queue.outbox (id, queue, available_at, delivery_count, published_at, exchange, routing_key, type, traceparent, body)
		 values (4711, 'work', now(), 2, now(), 'work', '', 'test', '', '')`,
		`select queue.publish('work', '', 'test', '', ''::bytea)`,
	} {
		if _, err := s.inside.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.engine.Declare(t.Context(), one(0)); err != nil {
		t.Fatal(err)
	}
	counts := make(chan int, 3)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		counts <- d.Count
		return nil
	}})
	s.until("an empty queue", func() bool { return s.count(kept, "work") == 0 && len(counts) == 3 })
	if sum := <-counts + <-counts + <-counts; sum != 1+3+1 {
		t.Errorf("the deliveries count as %d together, want two first ones and a third", sum)
	}
}
