// Package queuetest is the conformance suite of the queue: the behaviour that
// producers and consumers can rely on with every engine.
package queuetest

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// patience bounds each wait for a condition.
const patience = 3 * time.Minute

// Env is a test environment of an engine, with a separate database and broker.
type Env struct {
	// Module is a pool of the role "talks", a module that publishes.
	Module *postgres.DB
	// Queue is a pool of the role "queue".
	Queue *postgres.DB
	// Superuser is a pool of the database's superuser.
	Superuser *sql.DB
	// Engine returns the engine of a new process. The engine does not run yet.
	Engine func() queue.Broker
	// Address locates the environment for another process; see Main.
	Address string
}

// fixture is an environment in a test, with one process that publishes.
type fixture struct {
	*Env
	t      *testing.T
	engine queue.Broker
}

func newFixture(t *testing.T, env *Env, topologies ...queue.Topology) *fixture {
	t.Helper()
	f := &fixture{Env: env, t: t}
	f.engine = f.newProcess(topologies...)
	return f
}

// newProcess runs the engine of another process, and returns it.
func (f *fixture) newProcess(topologies ...queue.Topology) queue.Broker {
	f.t.Helper()
	engine := f.Engine()
	if err := engine.Declare(f.t.Context(), topologies...); err != nil {
		f.t.Fatal(err)
	}
	f.run(engine.Run)
	return engine
}

// run runs do until stop is called or the test ends.
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

func (f *fixture) consume(engine queue.Broker, c queue.Consumer) (stop func()) {
	return f.run(func(ctx context.Context) error { return engine.Consume(ctx, c) })
}

func (f *fixture) publish(m queue.Message, bodies ...string) {
	f.t.Helper()
	for _, body := range bodies {
		if _, err := f.tryPublish(m, body); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) tryPublish(m queue.Message, body string) (id int64, err error) {
	if m.Type == "" {
		m.Type = "test"
	}
	m.Body = wrapperspb.String(body)
	err = f.Module.InTransaction(f.t.Context(), func(tx *postgres.Tx) error {
		id, err = f.engine.Publish(f.t.Context(), tx, m)
		return err
	})
	return id, err
}

// until waits until ok reports true.
func (f *fixture) until(condition string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("timed out after %s waiting for %s", patience, condition)
		}
	}
}

// depth returns the depth of a queue.
func (f *fixture) depth(name string) queue.Depth {
	f.t.Helper()
	depths, err := f.engine.Depths(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return depths[name]
}

func (f *fixture) untilDepth(name, condition string, ok func(queue.Depth) bool) {
	f.t.Helper()
	var last queue.Depth
	defer func() {
		if f.t.Failed() {
			f.t.Logf("the depth of %s is %+v", name, last)
		}
	}()
	f.until(condition, func() bool { last = f.depth(name); return ok(last) })
}

func empty(d queue.Depth) bool { return d.Ready+d.Delayed+d.Unacknowledged == 0 }

// count returns the number that a query selects.
func (f *fixture) count(query string, arguments ...any) (n int) {
	f.t.Helper()
	if err := f.Superuser.QueryRowContext(f.t.Context(), query, arguments...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) deadLetters(queue string) int {
	f.t.Helper()
	return f.count("select count(*) from queue.dead_letter where queue = $1", queue)
}

// received records deliveries in their order.
type received struct {
	mu         sync.Mutex
	deliveries []queue.Delivery
}

// text returns the body of a test message.
func text(d queue.Delivery) string {
	var body wrapperspb.StringValue
	if err := proto.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	return body.Value
}

func (r *received) add(d queue.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deliveries = append(r.deliveries, d)
}

// handle records a message and acknowledges it.
func (r *received) handle(_ context.Context, d queue.Delivery) error {
	r.add(d)
	return nil
}

func (r *received) all() []queue.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.deliveries)
}

func (r *received) texts() (texts []string) {
	for _, d := range r.all() {
		texts = append(texts, text(d))
	}
	return texts
}

// atLeast returns a condition for until: at least n messages were delivered.
func (r *received) atLeast(n int) func() bool {
	return func() bool { return len(r.all()) >= n }
}

// contains returns a condition for until: a message with this body was delivered.
func (r *received) contains(body string) func() bool {
	return func() bool { return slices.Contains(r.texts(), body) }
}

// workTopology is one queue that receives all messages of one exchange.
func workTopology(limit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: limit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

var workMessage = queue.Message{Exchange: "work"}
