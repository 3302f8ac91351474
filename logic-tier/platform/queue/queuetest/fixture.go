// Package queuetest holds every engine of the queue to the same behaviour: what a
// producer or a consumer may rely on, whichever engine carries the message.
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

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// Place is where an engine is tested: a database and a broker of its own.
type Place struct {
	// Module is a pool of the role "talks", a module that publishes.
	Module *postgres.DB
	// Queue is a pool of the role "queue".
	Queue *postgres.DB
	// Superuser sees and changes everything.
	Superuser *sql.DB
	// Engine returns the engine as another process has it. It does not run yet.
	Engine func() queue.Broker
	// Where is what another process needs to find the place; see Main.
	Where string
}

// site is a place in a test, with one process that publishes.
type site struct {
	*Place
	t      *testing.T
	engine queue.Broker
}

func newSite(t *testing.T, place *Place, topologies ...queue.Topology) *site {
	t.Helper()
	s := &site{Place: place, t: t}
	s.engine = s.process(topologies...)
	return s
}

// process starts a process that uses the engine.
func (s *site) process(topologies ...queue.Topology) queue.Broker {
	s.t.Helper()
	engine := s.Engine()
	if err := engine.Declare(s.t.Context(), topologies...); err != nil {
		s.t.Fatal(err)
	}
	s.run(engine.Run)
	return engine
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

func (s *site) consume(by queue.Broker, c queue.Consumer) (stop func()) {
	return s.run(func(ctx context.Context) error { return by.Consume(ctx, c) })
}

func (s *site) publish(m queue.Message, bodies ...string) {
	s.t.Helper()
	for _, body := range bodies {
		if _, err := s.tryPublish(m, body); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) tryPublish(m queue.Message, body string) (id int64, err error) {
	if m.Type == "" {
		m.Type = "test"
	}
	m.Body = wrapperspb.String(body)
	err = s.Module.InTransaction(s.t.Context(), func(tx *postgres.Tx) error {
		id, err = s.engine.Publish(s.t.Context(), tx, m)
		return err
	})
	return id, err
}

// until waits for a condition.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

// depth asks the engine how much waits in a queue.
func (s *site) depth(name string) queue.Depth {
	s.t.Helper()
	all, err := s.engine.Depths(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return all[name]
}

func (s *site) untilDepth(name, what string, is func(queue.Depth) bool) {
	s.t.Helper()
	var last queue.Depth
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the depth of %s is %+v", name, last)
		}
	}()
	s.until(what, func() bool { last = s.depth(name); return is(last) })
}

func empty(d queue.Depth) bool { return d.Ready+d.Delayed+d.Unacknowledged == 0 }

// count asks the database for a number.
func (s *site) count(statement string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.Superuser.QueryRowContext(s.t.Context(), statement, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) dead(queue string) int {
	s.t.Helper()
	return s.count("select count(*) from queue.dead_letter where queue = $1", queue)
}

// notes are what handlers have seen, in order.
type notes struct {
	mu   sync.Mutex
	seen []queue.Delivery
}

// text is a test message's body.
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

// handle notes a message and acknowledges it.
func (n *notes) handle(_ context.Context, d queue.Delivery) error {
	n.add(d)
	return nil
}

func (n *notes) all() []queue.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

func (n *notes) texts() (texts []string) {
	for _, d := range n.all() {
		texts = append(texts, text(d))
	}
	return texts
}

func (n *notes) has(count int) func() bool { return func() bool { return len(n.all()) >= count } }

func (n *notes) holds(body string) func() bool {
	return func() bool { return slices.Contains(n.texts(), body) }
}

// one is a topology of one queue that gets all of one exchange.
func one(limit int) queue.Topology {
	return queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "work", DeliveryLimit: limit, Bindings: []queue.Binding{{Exchange: "work"}}}},
	}
}

var toWork = queue.Message{Exchange: "work"}
