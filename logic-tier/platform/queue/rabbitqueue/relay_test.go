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

// lockHolder is the database's process that serves who has the outbox's lock.
const lockHolder = `select coalesce(max(pid), 0) from pg_locks where locktype = 'advisory' and granted and objid = hashtext('queue.outbox')::oid`

// A relay that is gone after RabbitMQ has the messages, and before the outbox
// knows, ships nothing any more; another ships them again.
func TestARelayThatIsGoneBetweenPublishAndConfirmIsFollowed(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	first, second := s.another(), s.another()
	stop := s.run(first.Run)
	s.until("a relay", func() bool { return s.count(lockHolder) > 0 })
	s.run(second.Run)
	holder := s.count(lockHolder)
	var got notes
	s.consume(second, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})

	// Nobody can delete the rows meanwhile.
	if err := s.tryPublish(queue.Message{Exchange: "work", Delay: time.Second}, numbered(0, 20)...); err != nil {
		t.Fatal(err)
	}
	locked, err := s.inside.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Rollback()
	if _, err := locked.Exec(`select from queue.outbox for update`); err != nil {
		t.Fatal(err)
	}
	s.until("what it published", got.has(20))
	if n := s.count(inOutbox); n != 20 {
		t.Fatalf("%d are in the outbox, want all", n)
	}
	s.exec(`select pg_terminate_backend($1)`, holder)
	stop()
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	s.until("another relay", func() bool { now := s.count(lockHolder); return now > 0 && now != holder })
	s.untilShipped()
	s.publish("last")
	s.until("all messages", got.holds(append(numbered(0, 20), "last")...))
	if n := len(got.all()); n < 41 {
		t.Errorf("%d deliveries: the second relay shipped nothing again", n)
	}
}

// A message fails, and waits in the outbox again, before the relay has deleted the
// row from which it was shipped.
func TestARowIsNotDeletedForItsPredecessor(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.publish("x")
	s.exec(`update queue.outbox set queue = 'work', available_at = now() + interval '2 seconds', delivery_count = 1`)
	s.run(s.engine.Run)
	s.until("a relay", func() bool { return s.count(lockHolder) > 0 })
	locked, err := s.inside.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Rollback()
	if _, err := locked.Exec(`select from queue.outbox for update`); err != nil {
		t.Fatal(err)
	}
	var got notes
	raw := s.raw()
	s.until("it shipped", func() bool {
		d, ok, err := raw.Get("work", true)
		if err != nil {
			t.Fatal(err)
		}
		return ok && d.MessageId != ""
	})
	// As its consumer does; the relay's deletion waits.
	if _, err := locked.Exec(`update queue.outbox set available_at = now() + interval '3 seconds', delivery_count = 2`); err != nil {
		t.Fatal(err)
	}
	if err := locked.Commit(); err != nil {
		t.Fatal(err)
	}
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("its next delivery", got.has(1))
	if d := got.all()[0]; d.Count != 3 {
		t.Errorf("it is delivery %d, want the third", d.Count)
	}
	s.untilShipped()
}

// Nor do statistics from before it came make it slow.
func TestABigOutboxIsShippedThroughASmallWindow(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.exec(`analyze queue.outbox`)
	const messages = 20 * rabbitqueue.Window
	s.exec(`insert into queue.outbox (id, available_at, published_at, exchange, routing_key, type, traceparent, body)
		select queue.next_id(0), now(), now(), 'work', '', 'test', '', '' from generate_series(1, $1)`, messages)
	s.run(s.engine.Run)
	s.untilShipped()
	s.until("all in the queue", func() bool {
		all, err := s.engine.Depths(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all["work"].Ready == messages
	})
	if most := s.engine.MostOnWay(); most > rabbitqueue.Window || most < rabbitqueue.Batch {
		t.Errorf("%d messages were on their way at once; the window is %d", most, rabbitqueue.Window)
	}
}

func TestTheOutboxIsShippedInOrderAndWhenItIsDue(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
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
		if err := s.tryPublish(m.Message, m.body); err != nil {
			t.Fatal(err)
		}
	}
	s.run(s.engine.Run)
	s.until("all but the delayed one", func() bool { return s.count(inOutbox) == 1 })
	all, err := s.engine.Depths(t.Context())
	if err != nil || all["work"].Ready != 4 || all["work"].Delayed != 1 || all["work"].Oldest.IsZero() {
		t.Errorf("the depth is %+v, %v", all["work"], err)
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: got.handle})
	s.until("four messages", got.has(4))
	if want := []string{"most urgent", "urgent", "1", "2"}; !slices.Equal(got.texts(), want) {
		t.Errorf("they came as %v, want %v", got.texts(), want)
	}
}

func TestWhatAnotherEngineHasLeftIsDelivered(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	other := postgresqueue.New(s.database.Open("queue"), s.database.Options("queue"), slog.New(slog.DiscardHandler))
	publish := func(m queue.Message, bodies ...string) {
		for _, body := range bodies {
			m.Type, m.Body = "test", wrapperspb.String(body)
			err := s.module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
				_, err := other.Publish(t.Context(), tx, m)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(queue.Message{Exchange: "work", RoutingKey: "a.b", Headers: map[string]string{"kind": "talk"}}, numbered(0, 5)...)
	publish(queue.Message{Exchange: "work", Delay: 2 * time.Second}, "delayed")
	publish(queue.Message{Exchange: "work"}, "leased")
	s.exec(`update queue.message set lease = 4711, available_at = now() + interval '1 hour' where id = (select max(id) from queue.message)`)
	s.exec(`update queue.message set delivery_count = 3, history = '[{"count":3}]' where id = (select min(id) from queue.message)`)
	s.run(s.engine.Run)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	s.until("all that nobody has", got.holds(append(numbered(0, 5), "delayed")...))
	if d := got.all()[0]; d.Count != 4 || d.Exchange != "work" || d.RoutingKey != "a.b" || d.Headers["kind"] != "talk" {
		t.Errorf("the first is %+v", d)
	}
	if n := s.count(`select count(*) from queue.message`); n != 1 {
		t.Errorf("%d are left with the other engine, want the one that a consumer of it has", n)
	}
}

// What came to be in the outbox for an exchange that is not there ends among the
// dead letters, and not in the way.
func TestAnExchangeThatIsNotThere(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.publish("lost", "x")
	s.exec(`update queue.outbox set exchange = 'nowhere' where id = (select min(id) from queue.outbox)`)
	var got notes
	s.run(s.engine.Run)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("the other", got.holds("x"))
	if letter := s.letter(""); !strings.Contains(letter.Error, `exchange "nowhere" is not declared`) {
		t.Errorf("the dead letter says %q", letter.Error)
	}
}

// A queue that an operator's policy lets grow no further refuses messages; they
// wait in the outbox, and those of other queues pass them.
func TestAFullQueueHoldsUpItsOwnMessagesAlone(t *testing.T) {
	s := newSite(t)
	s.declare(one(0), queue.Topology{
		Exchanges: []queue.Exchange{{Name: "other", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "other", Bindings: []queue.Binding{{Exchange: "other"}}}},
	})
	s.broker.SetPolicy(`{"max-length": 5}`)
	s.run(s.engine.Run)
	// It takes what was on the way already, so they come a few at a time.
	published := 0
	s.until("a refusal", func() bool {
		s.publish(numbered(published, published+5)...)
		published += 5
		return s.said.has("RabbitMQ had no room for messages")()
	})
	var got, other notes
	s.consume(s.engine, queue.Consumer{Queue: "other", Handle: other.handle})
	if err := s.tryPublish(queue.Message{Exchange: "other"}, "x"); err != nil {
		t.Fatal(err)
	}
	s.until("a message of another queue", other.has(1))
	if n := s.count(inOutbox); n == 0 {
		t.Error("a full queue took all messages")
	}
	s.consume(s.engine, queue.Consumer{Queue: "work", Prefetch: 2, Handle: got.handle})
	s.until("all messages", got.holds(numbered(0, published)...))
	s.untilShipped()
}
