package rabbitqueue_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

// lockHolder returns the pid of the database session that holds the outbox's lock.
const lockHolder = `select coalesce(max(pid), 0) from pg_locks where locktype = 'advisory' and granted and objid = hashtext('queue.outbox')::oid`

// A relay loses its lock after RabbitMQ has the messages and before it has deleted
// them from the outbox. It stops, and another relay ships them again.
func TestAnotherRelayTakesOverBetweenPublishAndDeletion(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	first, second := f.newProcess(), f.newProcess()
	stop := f.run(first.Run)
	f.waitFor("a relay", func() bool { return f.count(lockHolder) > 0 })
	f.run(second.Run)
	holder := f.count(lockHolder)
	var got recorder
	f.consume(second, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})

	// Locked rows keep the relay from deleting them.
	if err := f.tryPublish(queue.Message{Exchange: "work", Delay: time.Second}, numberedBodies(0, 20)...); err != nil {
		t.Fatal(err)
	}
	tx, err := f.superuser.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`select from queue.outbox for update`); err != nil {
		t.Fatal(err)
	}
	f.waitFor("the published messages", got.hasAtLeast(20))
	if n := f.count(outboxCount); n != 20 {
		t.Fatalf("got %d messages in the outbox, want 20", n)
	}
	f.exec(`select pg_terminate_backend($1)`, holder)
	stop()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	f.waitFor("another relay", func() bool { pid := f.count(lockHolder); return pid > 0 && pid != holder })
	f.waitShipped()
	f.publish("last")
	f.waitFor("all messages", got.hasAll(append(numberedBodies(0, 20), "last")...))
	if n := len(got.deliveries()); n < 41 {
		t.Errorf("got %d deliveries, want at least 41: the second relay did not ship the messages again", n)
	}
}

// A message fails and is put back into the outbox before the relay has deleted the
// row from which it was shipped.
func TestRelayKeepsRowThatWasPutBackBeforeDeletion(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.publish("x")
	f.exec(`update queue.outbox set queue = 'work', available_at = now() + interval '2 seconds', delivery_count = 1`)
	f.run(f.engine.Run)
	f.waitFor("a relay", func() bool { return f.count(lockHolder) > 0 })
	tx, err := f.superuser.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`select from queue.outbox for update`); err != nil {
		t.Fatal(err)
	}
	var got recorder
	channel := f.rawChannel()
	f.waitFor("the message in RabbitMQ", func() bool {
		d, ok, err := channel.Get("work", true)
		if err != nil {
			t.Fatal(err)
		}
		return ok && d.MessageId != ""
	})
	// As a consumer puts it back, while the relay's deletion waits for the lock.
	if _, err := tx.Exec(`update queue.outbox set available_at = now() + interval '3 seconds', delivery_count = 2`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.waitFor("the next delivery", got.hasAtLeast(1))
	if d := got.deliveries()[0]; d.Count != 3 {
		t.Errorf("got delivery %d, want 3", d.Count)
	}
	f.waitShipped()
}

// The statistics are from before the backlog, which must not slow down the relay.
func TestLargeOutboxIsShippedWithinWindow(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.exec(`analyze queue.outbox`)
	const messages = 20 * rabbitqueue.Window
	f.exec(`insert into queue.outbox (id, available_at, published_at, exchange, routing_key, type, traceparent, body)
		select queue.next_id(0), now(), now(), 'work', '', 'test', '', '' from generate_series(1, $1)`, messages)
	f.run(f.engine.Run)
	f.waitShipped()
	f.waitFor("all messages in the queue", func() bool {
		depths, err := f.engine.Depths(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return depths["work"].Ready == messages
	})
	if n := f.engine.MaxUnconfirmed(); n > rabbitqueue.Window || n < rabbitqueue.BatchSize {
		t.Errorf("got up to %d unconfirmed messages, want %d to %d", n, rabbitqueue.BatchSize, rabbitqueue.Window)
	}
}

func TestOutboxIsShippedByPriorityAndOrderWhenDue(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	for _, m := range []struct {
		queue.Message
		body string
	}{
		{queue.Message{Exchange: "work", Delay: time.Hour}, "never"},
		{queue.Message{Exchange: "work"}, "1"},
		{queue.Message{Exchange: "work", Priority: 4}, "urgent"},
		{queue.Message{Exchange: "work"}, "2"},
		{queue.Message{Exchange: "work", Priority: 9}, "most urgent"},
	} {
		if err := f.tryPublish(m.Message, m.body); err != nil {
			t.Fatal(err)
		}
	}
	f.run(f.engine.Run)
	f.waitFor("all messages but the delayed one to be shipped", func() bool { return f.count(outboxCount) == 1 })
	depths, err := f.engine.Depths(t.Context())
	if err != nil || depths["work"].Ready != 4 || depths["work"].Delayed != 1 || depths["work"].Oldest.IsZero() {
		t.Errorf("got depth %+v, %v, want 4 ready and 1 delayed", depths["work"], err)
	}
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: got.handle})
	f.waitFor("four messages", got.hasAtLeast(4))
	if want := []string{"most urgent", "urgent", "1", "2"}; !slices.Equal(got.bodies(), want) {
		t.Errorf("got order %v, want %v", got.bodies(), want)
	}
}

func TestMessagesOfPostgresEngineAreAdopted(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	previous := postgresqueue.New(f.database.Open("queue"), f.database.Options("queue"), slog.New(slog.DiscardHandler))
	publish := func(m queue.Message, bodies ...string) {
		for _, body := range bodies {
			m.Type, m.Body = "test", wrapperspb.String(body)
			err := f.module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
				_, err := previous.Publish(t.Context(), tx, m)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(queue.Message{Exchange: "work", RoutingKey: "a.b", Headers: map[string]string{"kind": "talk"}}, numberedBodies(0, 5)...)
	publish(queue.Message{Exchange: "work", Delay: 2 * time.Second}, "delayed")
	publish(queue.Message{Exchange: "work"}, "leased")
	f.exec(`update queue.message set lease = 4711, available_at = now() + interval '1 hour' where id = (select max(id) from queue.message)`)
	f.exec(`update queue.message set delivery_count = 3, history = '[{"count":3}]' where id = (select min(id) from queue.message)`)
	f.run(f.engine.Run)
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	f.waitFor("all messages that are not leased", got.hasAll(append(numberedBodies(0, 5), "delayed")...))
	if d := got.deliveries()[0]; d.Count != 4 || d.Exchange != "work" || d.RoutingKey != "a.b" || d.Headers["kind"] != "talk" {
		t.Errorf("got first delivery %+v, want its exchange, routing key, headers and delivery count kept", d)
	}
	if n := f.count(`select count(*) from queue.message`); n != 1 {
		t.Errorf("got %d messages left in the Postgres engine, want only the leased one", n)
	}
}

// Such a message does not block the messages behind it.
func TestMessageForUndeclaredExchangeIsDeadLettered(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.publish("lost", "x")
	f.exec(`update queue.outbox set exchange = 'nowhere' where id = (select min(id) from queue.outbox)`)
	var got recorder
	f.run(f.engine.Run)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.waitFor("the other message", got.hasAll("x"))
	if letter := f.waitDeadLetter(""); !strings.Contains(letter.Error, `exchange "nowhere" is not declared`) {
		t.Errorf("got dead letter error %q, want it to name the undeclared exchange", letter.Error)
	}
}

// A queue that has reached the length limit of an operator's policy rejects messages.
// They wait in the outbox, and messages for other queues overtake them.
func TestFullQueueDelaysItsOwnMessagesOnly(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0), queue.Topology{
		Exchanges: []queue.Exchange{{Name: "other", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "other", Bindings: []queue.Binding{{Exchange: "other"}}}},
	})
	f.broker.SetPolicy(`{"max-length": 5}`)
	f.run(f.engine.Run)
	// The queue accepts messages already in flight when it becomes full, so publish a
	// few at a time.
	published := 0
	f.waitFor("a rejected message", func() bool {
		f.publish(numberedBodies(published, published+5)...)
		published += 5
		return f.logs.contains("RabbitMQ rejected messages because a queue is full")()
	})
	var got, other recorder
	f.consume(f.engine, queue.Consumer{Queue: "other", Handle: other.handle})
	if err := f.tryPublish(queue.Message{Exchange: "other"}, "x"); err != nil {
		t.Fatal(err)
	}
	f.waitFor("a message of another queue", other.hasAtLeast(1))
	if n := f.count(outboxCount); n == 0 {
		t.Error("the outbox is empty: a full queue accepted all messages")
	}
	f.consume(f.engine, queue.Consumer{Queue: "work", Prefetch: 2, Handle: got.handle})
	f.waitFor("all messages", got.hasAll(numberedBodies(0, published)...))
	f.waitShipped()
}
