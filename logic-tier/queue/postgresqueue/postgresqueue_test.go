package postgresqueue_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/postgres"
	"techtalks.example/logic-tier/postgres/postgrestest"
	"techtalks.example/logic-tier/queue"
	"techtalks.example/logic-tier/queue/postgresqueue"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// patience bounds every wait for a condition.
const patience = 20 * time.Second

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
		return s.engine.Publish(s.t.Context(), tx, queue.Message{Exchange: exchange, RoutingKey: key, Type: "test", Body: wrapperspb.String(body)})
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

const (
	kept = `select count(*) from queue.message m join queue.queue q on q.id = m.queue_id where q.name = $1`
	dead = `select count(*) from queue.dead_letter where queue = $1`
)

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

func TestAnExchangeRoutesByItsType(t *testing.T) {
	s := newSite(t, queue.Topology{
		Exchanges: []queue.Exchange{{Name: "d", Type: queue.Direct}, {Name: "t", Type: queue.Topic}, {Name: "f", Type: queue.Fanout}},
		Queues: []queue.Queue{
			{Name: "exact", Bindings: []queue.Binding{{Exchange: "d", Pattern: "a.b"}, {Exchange: "t", Pattern: "a.b"}}},
			{Name: "star", Bindings: []queue.Binding{{Exchange: "d", Pattern: "a.*"}, {Exchange: "t", Pattern: "a.*"}}},
			{Name: "twice", Bindings: []queue.Binding{{Exchange: "t", Pattern: "a.#"}, {Exchange: "t", Pattern: "#"}}},
			{Name: "all", Bindings: []queue.Binding{{Exchange: "f", Pattern: "whatever"}}},
		},
	})
	for _, c := range []struct {
		exchange, key string
		reaches       map[string]int
	}{
		{"d", "a.b", map[string]int{"exact": 1}},
		{"d", "a.*", map[string]int{"star": 1}},
		{"d", "nobody", nil},
		{"t", "a.b", map[string]int{"exact": 1, "star": 1, "twice": 1}},
		{"t", "a.b.c", map[string]int{"twice": 1}},
		{"t", "z", map[string]int{"twice": 1}},
		{"f", "", map[string]int{"all": 1}},
	} {
		t.Run(c.exchange+" "+c.key, func(t *testing.T) {
			if _, err := s.inside.Exec(`delete from queue.message`); err != nil {
				t.Fatal(err)
			}
			s.publish(c.exchange, c.key, "x")
			for _, name := range []string{"exact", "star", "twice", "all"} {
				if got := s.count(kept, name); got != c.reaches[name] {
					t.Errorf("%d messages in %q, want %d", got, name, c.reaches[name])
				}
			}
		})
	}
}

func TestNoBindingIsLeftOfAnEarlierVersion(t *testing.T) {
	topology := func(pattern string) queue.Topology {
		return queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: pattern}}}},
		}
	}
	s := newSite(t, topology("old"))
	if err := s.engine.Declare(t.Context(), topology("new")); err != nil {
		t.Fatal(err)
	}
	s.publish("t", "old", "x")
	s.publish("t", "new", "y")
	if got := s.count(kept, "q"); got != 1 {
		t.Errorf("%d messages, want the one that the new binding routes", got)
	}
}

func TestATopologyThatCannotBeIsRefused(t *testing.T) {
	s := newSite(t, one(0))
	for what, c := range map[string]struct {
		topology queue.Topology
		says     string
	}{
		"another type":     {queue.Topology{Exchanges: []queue.Exchange{{Name: "work", Type: queue.Direct}}}, "is fanout in the database and direct in this program"},
		"no such exchange": {queue.Topology{Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "nowhere"}}}}}, `exchange "nowhere", which is not declared`},
		"a pattern of spaces": {queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "a b"}}}},
		}, `"a b" is no word`},
	} {
		if err := s.engine.Declare(t.Context(), c.topology); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q", what, err, c.says)
		}
	}
}

func TestAMessageThatCannotBeIsRefused(t *testing.T) {
	s := newSite(t, one(0))
	for what, err := range map[string]error{
		`exchange "nowhere" is not declared`: s.tryPublish("nowhere", "", "x"),
		"use at most 255":                    s.tryPublish("work", strings.Repeat("k", 256), "x"),
		"use at most 65536":                  s.tryPublish("work", "", strings.Repeat("x", 64<<10)),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want it to say %q", err, what)
		}
	}
	if got := s.count(kept, "work"); got != 0 {
		t.Errorf("%d messages were kept all the same", got)
	}
}

func TestARolledBackTransactionPublishesNothing(t *testing.T) {
	s := newSite(t, one(0))
	rolledBack := errors.New("no")
	err := s.module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		if err := s.engine.Publish(t.Context(), tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String("x")}); err != nil {
			return err
		}
		return rolledBack
	})
	if !errors.Is(err, rolledBack) {
		t.Fatal(err)
	}
	if got := s.count(kept, "work"); got != 0 {
		t.Errorf("%d messages are kept", got)
	}
}

func TestAModuleReadsNoMessages(t *testing.T) {
	s := newSite(t, one(0))
	if _, err := s.module.Pool().ExecContext(t.Context(), `select * from queue.message`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v, want permission denied", err)
	}
}

func TestEachMessageIsWorkedByOneConsumer(t *testing.T) {
	s := newSite(t, one(0))
	const messages = 400
	var seen log
	for range 4 {
		s.consume(s.another(), queue.Consumer{Queue: "work", Prefetch: 10, Handle: func(_ context.Context, d queue.Delivery) error {
			seen.add(d)
			return nil
		}})
	}
	for i := range messages {
		s.publish("work", "", fmt.Sprint(i))
	}
	s.until("an empty queue", func() bool { return s.count(kept, "work") == 0 })
	distinct := map[string]bool{}
	for _, body := range seen.seen() {
		distinct[body] = true
	}
	if len(seen.seen()) != messages || len(distinct) != messages {
		t.Errorf("%d deliveries of %d messages, want %d of each", len(seen.seen()), len(distinct), messages)
	}
}

func TestOneHandlerSeesTheOrderOfPublishing(t *testing.T) {
	s := newSite(t, one(0))
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
	}
	s.publish("work", "", want...)
	var seen log
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 7, Handle: func(_ context.Context, d queue.Delivery) error {
		seen.add(d)
		return nil
	}})
	s.until("all messages", seen.has(len(want)))
	if got := strings.Join(seen.seen(), " "); got != strings.Join(want, " ") {
		t.Errorf("order is %s", got)
	}
}

func TestPrefetchBoundsWhatOneConsumerHolds(t *testing.T) {
	s := newSite(t, one(0))
	s.publish("work", "", "1", "2", "3", "4", "5", "6")
	blocked, goOn := make(chan struct{}, 6), make(chan struct{})
	stop := s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 2, Prefetch: 3, Handle: func(ctx context.Context, _ queue.Delivery) error {
		blocked <- struct{}{}
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return ctx.Err()
	}})
	<-blocked
	<-blocked
	if got := s.count(`select count(*) from queue.message where lease <> 0`); got != 3 {
		t.Errorf("%d messages are leased, want the prefetch of 3", got)
	}
	// Who drains puts everything back, and counts no delivery that was none.
	stop()
	if got := s.count(`select count(*) from queue.message where lease = 0 and delivery_count = 0 and available_at <= now()`); got != 6 {
		t.Errorf("%d messages are ready after the consumer drained, want all 6", got)
	}
}

func TestAMessageThatFailsComesBackWithItsCount(t *testing.T) {
	s := newSite(t, one(0))
	s.publish("work", "", "x")
	counts := make(chan int, 10)
	s.engine.LookEvery(10 * time.Millisecond)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		counts <- d.Count
		switch d.Count {
		case 1:
			return errors.New("not now")
		case 2:
			panic("nor now")
		}
		return nil
	}})
	for want := 1; want <= 3; want++ {
		select {
		case got := <-counts:
			if got != want {
				t.Fatalf("delivery counts as %d, want %d", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("delivery %d does not come", want)
		}
	}
	s.until("the acknowledgement", func() bool { return s.count(kept, "work") == 0 })
}

func TestAPoisonMessageEndsInTheDeadLettersAndBlocksNothing(t *testing.T) {
	s := newSite(t, one(3))
	s.publish("work", "", "poison", "rejected", "good")
	s.engine.LookEvery(10 * time.Millisecond)
	var seen log
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		switch seen.add(d) {
		case "poison":
			return errors.New("bad \x00 \xff every time")
		case "rejected":
			return queue.Reject(errors.New("never will"))
		}
		return nil
	}})
	s.until("two dead letters", func() bool { return s.count(dead, "work") == 2 && s.count(kept, "work") == 0 })
	tries := map[string]int{}
	for _, body := range seen.seen() {
		tries[body]++
	}
	if tries["poison"] != 3 || tries["rejected"] != 1 || tries["good"] != 1 {
		t.Errorf("tried %v; want poison 3 times, its limit, and the others once", tries)
	}
	if got := s.count(`select count(*) from queue.dead_letter where last_error like 'bad%every time' and delivery_count = 3`); got != 1 {
		t.Error("the dead letter does not say why it died")
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
	s := newSite(t, one(0))
	s.publish("work", "", "x")
	s.vanish(time.Second)
	s.engine.LookEvery(10 * time.Millisecond)
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

func TestWorkLongerThanTheLeaseStaysWithItsConsumer(t *testing.T) {
	s := newSite(t, one(0))
	s.publish("work", "", "long")
	const lease = 600 * time.Millisecond
	began, finish := make(chan struct{}, 2), make(chan struct{})
	handle := func(ctx context.Context, _ queue.Delivery) error {
		began <- struct{}{}
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	for range 2 {
		another := s.another()
		another.LookEvery(10 * time.Millisecond)
		s.consume(another, queue.Consumer{Queue: "work", Lease: lease, Handle: handle})
	}
	<-began
	// Extended twice, the lease has outlived its first length.
	for range 2 {
		var until time.Time
		if err := s.inside.QueryRow(`select available_at from queue.message`).Scan(&until); err != nil {
			t.Fatal(err)
		}
		s.until("another extension", func() bool {
			return s.count(`select count(*) from queue.message where available_at > $1`, until) == 1
		})
	}
	s.until("the end of the first lease", func() bool {
		return s.count(`select count(*) from queue.message where published_at + make_interval(secs => $1) < clock_timestamp()`, 2*lease.Seconds()) == 1
	})
	select {
	case <-began:
		t.Error("the message was delivered to another, too")
	default:
	}
	close(finish)
	s.until("the acknowledgement", func() bool { return s.count(kept, "work") == 0 })
}

func TestWhoLostTheLeaseIsToldAndAcknowledgesNothing(t *testing.T) {
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
	s.vanish(time.Hour)
	<-ended
	stop()
	if got := s.count(`select count(*) from queue.message where lease = 4711`); got != 1 {
		t.Error("the message is no longer with who has the lease now")
	}
}

func TestConsumersAreWokenInEveryProcess(t *testing.T) {
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
	// wake, while nobody listens.
	if _, err := s.inside.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.inside.Exec(`select queue.publish('work', '', 'test', '', $1)`, []byte{}); err != nil {
		t.Fatal(err)
	}
	s.until("delivery after the reconnect", seen.has(2))
}

func TestAQueueDeclaredLaterIsConsumed(t *testing.T) {
	s := newSite(t)
	var seen log
	s.engine.LookEvery(10 * time.Millisecond)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		seen.add(d)
		return nil
	}})
	if err := s.engine.Declare(t.Context(), one(0)); err != nil {
		t.Fatal(err)
	}
	s.publish("work", "", "x")
	s.until("the message", seen.has(1))
}

// The database goes away with every connection, and comes back.
func TestConsumersComeBackAfterTheDatabaseWasAway(t *testing.T) {
	s := newSite(t, one(0))
	var seen log
	s.engine.LookEvery(10 * time.Millisecond)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(_ context.Context, d queue.Delivery) error {
		seen.add(d)
		return nil
	}})
	s.publish("work", "", "first")
	s.until("the first message", seen.has(1))
	if _, err := s.inside.Exec(`alter database techtalks connection limit 0`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.inside.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where usename <> 'postgres'`); err != nil {
		t.Fatal(err)
	}
	if err := s.tryPublish("work", "", "while away"); err == nil {
		t.Error("publishing succeeded without a database")
	}
	if _, err := s.inside.Exec(`alter database techtalks connection limit -1`); err != nil {
		t.Fatal(err)
	}
	s.publish("work", "", "second")
	s.until("the second message", seen.has(2))
}
