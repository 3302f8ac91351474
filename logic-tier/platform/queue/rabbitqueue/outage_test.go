package rabbitqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// load publishes messages with one key, a transaction each, until it is stopped,
// and returns what it published. No publisher notices what RabbitMQ does.
func (s *site) load(count *atomic.Int64) (stop func() []string) {
	var bodies []string
	end := s.run(func(ctx context.Context) error {
		for ctx.Err() == nil {
			body := fmt.Sprintf("%05d", len(bodies))
			if err := s.tryPublish(queue.Message{Exchange: "work", RoutingKey: "key"}, body); err != nil {
				return err
			}
			bodies = append(bodies, body)
			count.Add(1)
		}
		return nil
	})
	return func() []string { end(); return bodies }
}

func TestABrokerThatIsKilledUnderLoadLosesNothing(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	var got notes
	s.run(s.engine.Run)
	const kills, prefetch = 2, 50
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: prefetch, Handle: got.handle})
	var published atomic.Int64
	stop := s.load(&published)
	for range kills {
		before := len(got.all())
		s.until("messages", got.has(before+200))
		s.broker.Kill()
		away := published.Load()
		s.until("publishers that go on without a broker", func() bool { return published.Load() > away+200 })
		s.until("it to be noticed", func() bool { return s.engine.Up() != nil })
		s.broker.Start()
		s.until("a broker that is up again", func() bool { return s.engine.Up() == nil })
	}
	bodies := stop()
	s.until("all messages", got.holds(bodies...))
	s.untilShipped()
	// Each may come again; where it came first, the order is that of publishing, but
	// for those that the consumer held when RabbitMQ was killed, which others may
	// pass.
	texts := got.texts()
	late, newest := 0, ""
	for _, text := range texts {
		if text < newest {
			late++
		}
		newest = max(newest, text)
	}
	if slices.Sort(texts); !slices.Equal(texts, bodies) {
		t.Errorf("%d messages came, of %d", len(texts), len(bodies))
	}
	if late > kills*prefetch {
		t.Errorf("%d messages came late; the consumer held %d at most", late, kills*prefetch)
	}
}

func TestWhatIsDeclaredWhileTheBrokerIsAwayIsDeclaredLater(t *testing.T) {
	s := newSite(t)
	s.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "old"}, {Exchange: "t", Pattern: "both"}}}},
	})
	s.broker.Kill()
	s.declare(one(0), queue.Topology{
		Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "new"}, {Exchange: "t", Pattern: "both"}}}},
	})
	if !s.said.has("RabbitMQ is away; the topology is declared there when it is back")() {
		t.Errorf("it said %s", s.said)
	}
	s.publish("while away")
	var got, q notes
	s.run(s.engine.Run)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.consume(s.engine, queue.Consumer{Queue: "q", Concurrency: 1, Handle: q.handle})
	if err := s.engine.Up(); err == nil || !strings.Contains(err.Error(), "RabbitMQ") {
		t.Errorf("it is up: %v", err)
	}
	s.broker.Start()
	s.until("the message", got.has(1))
	s.until("nothing of the old version", func() bool { return s.count(`select count(*) from queue.binding where pattern = 'old'`) == 0 })
	for _, key := range []string{"old", "new", "both"} {
		if err := s.tryPublish(queue.Message{Exchange: "t", RoutingKey: key}, key); err != nil {
			t.Fatal(err)
		}
	}
	s.until("what is bound", q.holds("new", "both"))
	if letter := s.letter(""); letter.RoutingKey != "old" || len(q.all()) != 2 {
		t.Errorf("the unroutable one is %+v, and the queue got %v", letter, q.texts())
	}
}

// A RabbitMQ that comes back empty gets its topology from whatever process is
// there, though it was another that declared it.
func TestALostTopologyIsRestored(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	other := s.another() // declares nothing
	s.run(other.Run)
	s.until("a connection", func() bool { return other.Up() == nil })
	s.broker.DeleteVirtualHost()
	s.until("it to be noticed", func() bool { return other.Up() != nil })
	s.publish("x")
	s.broker.AddVirtualHost()
	s.untilShipped()
	var got notes
	s.consume(other, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("the message", got.has(1))
	if n := s.count(dead, ""); n != 0 {
		t.Errorf("%d messages reached no queue", n)
	}
}

func TestAFullBrokerHoldsUpThePublisherAlone(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.run(s.engine.Run)
	s.publish(numbered(0, 50)...)
	s.untilShipped()
	s.broker.SetAlarm(true)
	defer s.broker.SetAlarm(false)
	s.publish(numbered(50, 1000)...)
	s.until("it to be noticed", func() bool { return s.engine.Up() != nil })
	if err := s.engine.Up(); !strings.Contains(err.Error(), "takes no messages until it has room") {
		t.Errorf("it says %v", err)
	}
	var got notes
	stop := s.consume(s.engine, queue.Consumer{Queue: "work", Prefetch: 10, Handle: got.handle})
	s.until("what was there before", got.holds(numbered(0, 50)...))
	stop()
	if n := s.count(inOutbox); n == 0 {
		t.Error("a full broker took messages")
	}
	s.broker.SetAlarm(false)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("all messages", got.holds(numbered(0, 1000)...))
	s.until("it to be over", func() bool { return s.engine.Up() == nil })
}

func TestWhatFailsWhileTheDatabaseIsAwayIsTriedAgain(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.run(s.engine.Run)
	away := make(chan struct{})
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		got.add(d)
		if d.Count == 1 {
			<-away
			return errors.New("no database")
		}
		return nil
	}})
	s.publish("x")
	s.until("a handler under way", got.has(1))
	s.exec("alter database " + s.database.Options("queue").Database + " connection limit 0")
	s.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`)
	close(away)
	s.until("a try to put it back", s.said.has("message not put back; trying again"))
	if err := s.tryPublish(queue.Message{Exchange: "work"}, "y"); !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("publishing without a database: %v", err)
	}
	s.exec("alter database " + s.database.Options("queue").Database + " connection limit -1")
	s.until("its second delivery", got.has(2))
	if d := got.all()[1]; d.Count != 2 || text(d) != "x" {
		t.Errorf("it is %q, delivery %d", text(d), d.Count)
	}
}

func TestAnExclusiveQueueIsMadeAgain(t *testing.T) {
	s := newSite(t)
	s.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues: []queue.Queue{
			{Name: "replica", Exclusive: true, Bindings: []queue.Binding{{Exchange: "work"}}},
			{Name: "kept", Bindings: []queue.Binding{{Exchange: "work"}}},
		},
	})
	s.run(s.engine.Run)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "replica", Handle: got.handle})
	heard := func() bool {
		before := len(got.all())
		s.publish("hello")
		s.untilShipped()
		return len(got.all()) > before
	}
	s.until("a queue", heard)
	if err := s.engine.Crash(); err != nil {
		t.Fatal(err)
	}
	s.until("it to be noticed", s.said.has("connection to RabbitMQ lost"))
	s.until("another queue", heard)
}
