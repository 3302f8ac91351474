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

// waitTimeout bounds every wait for a condition. RabbitMQ can be starting meanwhile.
const waitTimeout = 3 * time.Minute

// fixture is a database and a virtual host, with one process that publishes.
type fixture struct {
	t         *testing.T
	database  *postgrestest.Database
	broker    *rabbittest.Broker
	module    *postgres.DB
	queue     *postgres.DB
	superuser *sql.DB
	logs      *logBuffer
	engine    *rabbitqueue.Queue
}

// newFixture returns a fixture whose engine is not running yet. Its tests stop the
// node, fill it and wait for its retries, so under -short only TestConformance runs.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	database := postgrestest.New(t)
	f := &fixture{
		t: t, database: database, broker: rabbittest.New(t, database.Options("queue").Certificates),
		module: database.Open("talks"), queue: database.Open("queue"), superuser: database.Superuser(), logs: &logBuffer{},
	}
	f.engine = f.newProcess()
	return f
}

func (f *fixture) options() rabbitqueue.Options {
	return rabbitqueue.Options{
		URL: f.broker.URL(), Certificates: f.database.Options("queue").Certificates,
		DB: f.database.Open("queue"), Listen: f.database.Options("queue"), Log: slog.New(slog.NewTextHandler(f.logs, nil)),
	}
}

func (f *fixture) newQueue(o rabbitqueue.Options) *rabbitqueue.Queue {
	f.t.Helper()
	engine, err := rabbitqueue.New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	return engine
}

// newProcess returns the engine of another process.
func (f *fixture) newProcess() *rabbitqueue.Queue { return f.newQueue(f.options()) }

// workTopology returns a topology with the exchange "work" and the queue "work",
// which receives all its messages.
func workTopology(deliveryLimit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: deliveryLimit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

func (f *fixture) declare(topologies ...queue.Topology) {
	f.t.Helper()
	if err := f.engine.Declare(f.t.Context(), topologies...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) publish(bodies ...string) {
	f.t.Helper()
	if err := f.tryPublish(queue.Message{Exchange: "work"}, bodies...); err != nil {
		f.t.Fatal(err)
	}
}

// tryPublish publishes a message with each body, in one transaction.
func (f *fixture) tryPublish(m queue.Message, bodies ...string) error {
	if m.Type == "" {
		m.Type = "test"
	}
	return f.module.InTransaction(f.t.Context(), func(tx *postgres.Tx) error {
		for _, body := range bodies {
			m.Body = wrapperspb.String(body)
			if _, err := f.engine.Publish(f.t.Context(), tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// run calls do in a goroutine, and cancels its context when stop is called or the
// test ends.
func (f *fixture) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
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

func (f *fixture) consume(engine *rabbitqueue.Queue, c queue.Consumer) (stop func()) {
	return f.run(func(ctx context.Context) error { return engine.Consume(ctx, c) })
}

// waitFor waits for a condition, which description names in the failure message.
func (f *fixture) waitFor(description string, condition func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(waitTimeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("timed out after %s waiting for %s\n%s", waitTimeout, description, f.logs)
		}
	}
}

// count runs a query whose result is a number.
func (f *fixture) count(query string, arguments ...any) (n int) {
	f.t.Helper()
	if err := f.superuser.QueryRow(query, arguments...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) exec(statement string, arguments ...any) {
	f.t.Helper()
	if _, err := f.superuser.Exec(statement, arguments...); err != nil {
		f.t.Fatal(err)
	}
}

const (
	outboxCount     = `select count(*) from queue.outbox`
	deadLetterCount = `select count(*) from queue.dead_letter where queue = $1`
)

func (f *fixture) waitShipped() {
	f.t.Helper()
	f.waitFor("an empty outbox", func() bool { return f.count(outboxCount) == 0 })
}

// waitDeadLetter waits for a dead letter of a queue and returns it.
func (f *fixture) waitDeadLetter(queueName string) ledger.DeadLetter {
	f.t.Helper()
	f.waitFor("a dead letter of "+queueName, func() bool { return f.count(deadLetterCount, queueName) > 0 })
	id := f.count(`select min(id) from queue.dead_letter where queue = $1`, queueName)
	letter, err := ledger.FindDeadLetter(f.t.Context(), f.queue, queueName, int64(id))
	if err != nil {
		f.t.Fatal(err)
	}
	return letter
}

// rawChannel returns a channel that bypasses the engine.
func (f *fixture) rawChannel() *amqp.Channel {
	f.t.Helper()
	connection, err := amqp.Dial(f.broker.PasswordURL())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = connection.Close() })
	channel, err := connection.Channel()
	if err != nil {
		f.t.Fatal(err)
	}
	return channel
}

// recorder records deliveries in the order in which handlers received them.
type recorder struct {
	mu   sync.Mutex
	seen []queue.Delivery
}

func bodyOf(d queue.Delivery) string {
	var body wrapperspb.StringValue
	if err := proto.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	return body.Value
}

func (r *recorder) record(d queue.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, d)
}

func (r *recorder) handle(_ context.Context, d queue.Delivery) error {
	r.record(d)
	return nil
}

func (r *recorder) deliveries() []queue.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// hasAtLeast returns the condition that count deliveries were recorded.
func (r *recorder) hasAtLeast(count int) func() bool {
	return func() bool { return len(r.deliveries()) >= count }
}

// bodies returns the distinct bodies in the order of their first delivery.
func (r *recorder) bodies() (bodies []string) {
	seen := map[string]bool{}
	for _, d := range r.deliveries() {
		if body := bodyOf(d); !seen[body] {
			seen[body] = true
			bodies = append(bodies, body)
		}
	}
	return bodies
}

// hasAll returns the condition that all bodies were recorded.
func (r *recorder) hasAll(bodies ...string) func() bool {
	return func() bool {
		recorded := r.bodies()
		return !slices.ContainsFunc(bodies, func(body string) bool { return !slices.Contains(recorded, body) })
	}
}

// numberedBodies returns the bodies from first to end, exclusive.
func numberedBodies(first, end int) (bodies []string) {
	for i := first; i < end; i++ {
		bodies = append(bodies, fmt.Sprintf("%05d", i))
	}
	return bodies
}

// logBuffer collects the engine's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// contains returns the condition that text was logged.
func (b *logBuffer) contains(text string) func() bool {
	return func() bool { return strings.Contains(b.String(), text) }
}
