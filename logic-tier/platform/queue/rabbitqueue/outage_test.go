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

// publishContinuously publishes messages in order, a transaction each, and counts
// them until stop is called, which returns their bodies. It fails the test if
// publishing fails, because publishing must not depend on RabbitMQ.
func (f *fixture) publishContinuously(count *atomic.Int64) (stop func() []string) {
	var bodies []string
	cancel := f.run(func(ctx context.Context) error {
		for ctx.Err() == nil {
			body := fmt.Sprintf("%05d", len(bodies))
			if err := f.tryPublish(queue.Message{Exchange: "work", RoutingKey: "key"}, body); err != nil {
				return err
			}
			bodies = append(bodies, body)
			count.Add(1)
		}
		return nil
	})
	return func() []string { cancel(); return bodies }
}

func TestNoMessageIsLostWhenBrokerIsKilledUnderLoad(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	var got recorder
	f.run(f.engine.Run)
	const kills, prefetch = 2, 50
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: prefetch, Handle: got.handle})
	var published atomic.Int64
	stop := f.publishContinuously(&published)
	for range kills {
		before := len(got.deliveries())
		f.waitFor("messages", got.hasAtLeast(before+200))
		f.broker.Kill()
		atKill := published.Load()
		f.waitFor("publishing to continue without a broker", func() bool { return published.Load() > atKill+200 })
		f.waitFor("the outage to be detected", func() bool { return f.engine.Up() != nil })
		f.broker.Start()
		f.waitFor("the broker to be back", func() bool { return f.engine.Up() == nil })
	}
	bodies := stop()
	f.waitFor("all messages", got.hasAll(bodies...))
	f.waitShipped()
	// Messages can be redelivered. Their first deliveries are in the order of
	// publishing, except for messages that the consumer held when RabbitMQ was killed,
	// which later ones can overtake.
	received := got.bodies()
	overtaken, latest := 0, ""
	for _, body := range received {
		if body < latest {
			overtaken++
		}
		latest = max(latest, body)
	}
	if slices.Sort(received); !slices.Equal(received, bodies) {
		t.Errorf("got %d distinct messages, want %d", len(received), len(bodies))
	}
	if overtaken > kills*prefetch {
		t.Errorf("got %d messages overtaken by later ones, want at most the %d that the consumer held", overtaken, kills*prefetch)
	}
}

func TestTopologyDeclaredDuringOutageIsAppliedAfterReconnect(t *testing.T) {
	f := newFixture(t)
	f.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "old"}, {Exchange: "t", Pattern: "both"}}}},
	})
	f.broker.Kill()
	f.declare(workTopology(0), queue.Topology{
		Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "new"}, {Exchange: "t", Pattern: "both"}}}},
	})
	if !f.logs.contains("RabbitMQ is unavailable; declaring the topology when it is back")() {
		t.Errorf("got log %s, want it to report the outage", f.logs)
	}
	f.publish("during the outage")
	var got, q recorder
	f.run(f.engine.Run)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.consume(f.engine, queue.Consumer{Queue: "q", Concurrency: 1, Handle: q.handle})
	if err := f.engine.Up(); err == nil || !strings.Contains(err.Error(), "RabbitMQ") {
		t.Errorf("Up() = %v during the outage, want an error that names RabbitMQ", err)
	}
	f.broker.Start()
	f.waitFor("the message", got.hasAtLeast(1))
	f.waitFor("the stale binding to be removed", func() bool { return f.count(`select count(*) from queue.binding where pattern = 'old'`) == 0 })
	for _, key := range []string{"old", "new", "both"} {
		if err := f.tryPublish(queue.Message{Exchange: "t", RoutingKey: key}, key); err != nil {
			t.Fatal(err)
		}
	}
	f.waitFor("the bound messages", q.hasAll("new", "both"))
	if letter := f.waitDeadLetter(""); letter.RoutingKey != "old" || len(q.deliveries()) != 2 {
		t.Errorf("got dead letter %+v and messages %v, want a dead letter for the removed binding and two messages", letter, q.bodies())
	}
}

// Any process restores the topology, not only the one that declared it.
func TestLostTopologyIsRestored(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	other := f.newProcess() // without a topology of its own
	f.run(other.Run)
	f.waitFor("a connection", func() bool { return other.Up() == nil })
	f.broker.DeleteVirtualHost()
	f.waitFor("the loss to be detected", func() bool { return other.Up() != nil })
	f.publish("x")
	f.broker.AddVirtualHost()
	f.waitShipped()
	var got recorder
	f.consume(other, queue.Consumer{Queue: "work", Handle: got.handle})
	f.waitFor("the message", got.hasAtLeast(1))
	if n := f.count(deadLetterCount, ""); n != 0 {
		t.Errorf("got %d unroutable messages, want none", n)
	}
}

func TestBlockedBrokerDelaysPublishersOnly(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.run(f.engine.Run)
	f.publish(numberedBodies(0, 50)...)
	f.waitShipped()
	f.broker.SetAlarm(true)
	defer f.broker.SetAlarm(false)
	f.publish(numberedBodies(50, 1000)...)
	f.waitFor("the engine to detect that it is blocked", func() bool { return f.engine.Up() != nil })
	if err := f.engine.Up(); !strings.Contains(err.Error(), "blocks publishing until it has resources") {
		t.Errorf("got error %v, want one that reports that RabbitMQ blocks publishing", err)
	}
	var got recorder
	stop := f.consume(f.engine, queue.Consumer{Queue: "work", Prefetch: 10, Handle: got.handle})
	f.waitFor("the messages shipped before", got.hasAll(numberedBodies(0, 50)...))
	stop()
	if n := f.count(outboxCount); n == 0 {
		t.Error("the outbox is empty: a blocked broker accepted messages")
	}
	f.broker.SetAlarm(false)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.waitFor("all messages", got.hasAll(numberedBodies(0, 1000)...))
	f.waitFor("the engine to be healthy", func() bool { return f.engine.Up() == nil })
}

func TestFailedMessageIsRetriedWhenDatabaseWasUnavailable(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.run(f.engine.Run)
	unavailable := make(chan struct{})
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: func(_ context.Context, d queue.Delivery) error {
		got.record(d)
		if d.Count == 1 {
			<-unavailable
			return errors.New("no database")
		}
		return nil
	}})
	f.publish("x")
	f.waitFor("a running handler", got.hasAtLeast(1))
	f.exec("alter database " + f.database.Options("queue").Database + " connection limit 0")
	f.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`)
	close(unavailable)
	f.waitFor("a failed attempt to put it back", f.logs.contains("cannot put a failed message back; retrying"))
	if err := f.tryPublish(queue.Message{Exchange: "work"}, "y"); !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("publishing without a database: got error %v, want %v", err, postgres.ErrUnavailable)
	}
	f.exec("alter database " + f.database.Options("queue").Database + " connection limit -1")
	f.waitFor("the second delivery", got.hasAtLeast(2))
	if d := got.deliveries()[1]; d.Count != 2 || bodyOf(d) != "x" {
		t.Errorf("got %q, delivery %d, want \"x\", delivery 2", bodyOf(d), d.Count)
	}
}

func TestExclusiveQueueIsRecreatedAfterReconnect(t *testing.T) {
	f := newFixture(t)
	f.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "work", Type: queue.Fanout}},
		Queues: []queue.Queue{
			{Name: "replica", Exclusive: true, Bindings: []queue.Binding{{Exchange: "work"}}},
			{Name: "kept", Bindings: []queue.Binding{{Exchange: "work"}}},
		},
	})
	f.run(f.engine.Run)
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "replica", Handle: got.handle})
	delivers := func() bool {
		before := len(got.deliveries())
		f.publish("hello")
		f.waitShipped()
		return len(got.deliveries()) > before
	}
	f.waitFor("a delivery", delivers)
	if err := f.engine.CutConsumerConnection(); err != nil {
		t.Fatal(err)
	}
	f.waitFor("the loss to be detected", f.logs.contains("connection to RabbitMQ lost"))
	f.waitFor("a delivery through another queue", delivers)
}
