package rabbitqueue_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue/rabbittest"
)

// patience bounds every wait for a condition: RabbitMQ may be starting meanwhile.
const patience = 3 * time.Minute

// site is a database and a virtual host, with one process that publishes.
type site struct {
	t        *testing.T
	database *postgrestest.Database
	broker   *rabbittest.Broker
	module   *postgres.DB
	queue    *postgres.DB
	inside   *sql.DB
	said     *said
	engine   *rabbitqueue.Queue
}

// newSite returns a site whose engine does not run yet. Tests of it stop the node, fill it
// and wait for its retries; TestConformance alone runs under -short.
func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	database := postgrestest.New(t)
	s := &site{
		t: t, database: database, broker: rabbittest.New(t, database.Options("queue").Certificates),
		module: database.Open("talks"), queue: database.Open("queue"), inside: database.Superuser(), said: &said{},
	}
	s.engine = s.another()
	return s
}

func (s *site) options() rabbitqueue.Options {
	return rabbitqueue.Options{
		URL: s.broker.URL(), Certificates: s.database.Options("queue").Certificates,
		DB: s.database.Open("queue"), Listen: s.database.Options("queue"), Log: slog.New(slog.NewTextHandler(s.said, nil)),
	}
}

func (s *site) make(o rabbitqueue.Options) *rabbitqueue.Queue {
	s.t.Helper()
	engine, err := rabbitqueue.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return engine
}

// another is the engine as another process has it.
func (s *site) another() *rabbitqueue.Queue { return s.make(s.options()) }

// one is a topology of one queue that gets all of one exchange.
func one(limit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: limit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

func (s *site) declare(topologies ...queue.Topology) {
	s.t.Helper()
	if err := s.engine.Declare(s.t.Context(), topologies...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) publish(bodies ...string) {
	s.t.Helper()
	if err := s.tryPublish(queue.Message{Exchange: "work"}, bodies...); err != nil {
		s.t.Fatal(err)
	}
}

// tryPublish publishes all in one transaction.
func (s *site) tryPublish(m queue.Message, bodies ...string) error {
	if m.Type == "" {
		m.Type = "test"
	}
	return s.module.InTransaction(s.t.Context(), func(tx *postgres.Tx) error {
		for _, body := range bodies {
			m.Body = wrapperspb.String(body)
			if _, err := s.engine.Publish(s.t.Context(), tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// run runs something until the returned function is called, or the test ends.
func (s *site) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
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

func (s *site) consume(by *rabbitqueue.Queue, c queue.Consumer) (stop func()) {
	return s.run(func(ctx context.Context) error { return by.Consume(ctx, c) })
}

func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s\n%s", patience, what, s.said)
		}
	}
}

// count asks the database for a number.
func (s *site) count(statement string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.inside.QueryRow(statement, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) exec(statement string, arguments ...any) {
	s.t.Helper()
	if _, err := s.inside.Exec(statement, arguments...); err != nil {
		s.t.Fatal(err)
	}
}

const (
	inOutbox = `select count(*) from queue.outbox`
	dead     = `select count(*) from queue.dead_letter where queue = $1`
)

func (s *site) untilShipped() {
	s.t.Helper()
	s.until("an empty outbox", func() bool { return s.count(inOutbox) == 0 })
}

// letter waits for a dead letter of a queue, and returns it.
func (s *site) letter(name string) ledger.Letter {
	s.t.Helper()
	s.until("a dead letter of "+name, func() bool { return s.count(dead, name) > 0 })
	id := s.count(`select min(id) from queue.dead_letter where queue = $1`, name)
	letter, err := ledger.FindLetter(s.t.Context(), s.queue, name, int64(id))
	if err != nil {
		s.t.Fatal(err)
	}
	return letter
}

// raw is a channel of a program that knows nothing of the engine.
func (s *site) raw() *amqp.Channel {
	s.t.Helper()
	connection, err := amqp.Dial(s.broker.PasswordURL())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = connection.Close() })
	channel, err := connection.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	return channel
}

// notes are what handlers have seen, in order.
type notes struct {
	mu   sync.Mutex
	seen []queue.Delivery
}

func text(d queue.Delivery) string {
	var body wrapperspb.StringValue
	if err := proto.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	return body.Value
}

func (n *notes) add(d queue.Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, d)
}

func (n *notes) handle(_ context.Context, d queue.Delivery) error {
	n.add(d)
	return nil
}

func (n *notes) all() []queue.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

func (n *notes) has(count int) func() bool { return func() bool { return len(n.all()) >= count } }

// texts are the bodies, each where it came first.
func (n *notes) texts() (texts []string) {
	known := map[string]bool{}
	for _, d := range n.all() {
		if body := text(d); !known[body] {
			known[body] = true
			texts = append(texts, body)
		}
	}
	return texts
}

func (n *notes) holds(bodies ...string) func() bool {
	return func() bool {
		texts := n.texts()
		return !slices.ContainsFunc(bodies, func(body string) bool { return !slices.Contains(texts, body) })
	}
}

// numbered returns so many bodies.
func numbered(from, to int) (bodies []string) {
	for i := from; i < to; i++ {
		bodies = append(bodies, fmt.Sprintf("%05d", i))
	}
	return bodies
}

// said is what the engine logs.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *said) has(what string) func() bool {
	return func() bool { return strings.Contains(s.String(), what) }
}
