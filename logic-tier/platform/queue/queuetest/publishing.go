package queuetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/proto/transport"
)

func badMessages(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	for what, m := range map[string]queue.Message{
		`exchange "nowhere" is not declared`: {Exchange: "nowhere"},
		"use at most 255":                    {Exchange: "work", RoutingKey: strings.Repeat("k", 256)},
		"use 0 to 9":                         {Exchange: "work", Priority: 10},
		"use at most 720h0m0s":               {Exchange: "work", Delay: 31 * 24 * time.Hour},
		"use at most 4096":                   {Exchange: "work", Headers: map[string]string{"h": strings.Repeat("x", 5000)}},
	} {
		if _, err := s.tryPublish(m, "x"); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want it to say %q", err, what)
		}
	}
	if _, err := s.tryPublish(toWork, strings.Repeat("x", queue.MaxBody)); err == nil || !strings.Contains(err.Error(), "use at most 65536") {
		t.Errorf("got %v, want the bound of a body", err)
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	// The longest that may be.
	s.publish(queue.Message{Exchange: "work", RoutingKey: strings.Repeat("k", queue.MaxRoutingKey), Headers: map[string]string{"h": strings.Repeat("x", 4000)}},
		strings.Repeat("y", queue.MaxBody-10))
	s.until("a message", got.has(1))
	if d := got.all()[0]; text(d)[0] != 'y' || len(d.RoutingKey) != queue.MaxRoutingKey {
		t.Error("what was refused arrived all the same")
	}
}

func rolledBack(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	no := errors.New("no")
	err := s.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		if _, err := s.engine.Publish(t.Context(), tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String("never was")}); err != nil {
			return err
		}
		return no
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	s.publish(toWork, "was")
	s.until("the other message", got.holds("was"))
	if got.holds("never was")() {
		t.Error("what was rolled back was delivered")
	}
}

func byItself(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	id, err := s.engine.Publish(t.Context(), s.Module, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String("alone")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.engine.Publish(t.Context(), s.Module, queue.Message{Exchange: "nowhere", Type: "test", Body: wrapperspb.String("lost")}); err == nil {
		t.Error("an exchange that is not declared took a message")
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("the message", got.has(1))
	if d := got.all()[0]; d.ID != id || text(d) != "alone" {
		t.Errorf("message %d came with %q, want %d", d.ID, text(d), id)
	}
}

func asPublished(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	trace, ok := transport.ParseTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if !ok {
		t.Fatal("no trace")
	}
	m := queue.Message{
		Exchange: "work", RoutingKey: "a.b", Type: "talk.published", Priority: 3,
		Headers: map[string]string{"kind": "talk", "title": "Über “λ”"}, Body: wrapperspb.String("body"),
	}
	before := time.Now().Add(-time.Minute)
	var id int64
	err := s.Module.InTransaction(t.Context(), func(tx *postgres.Tx) (err error) {
		id, err = s.engine.Publish(transport.WithTrace(t.Context(), trace), tx, m)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("the message", got.has(1))
	d := got.all()[0]
	if d.ID != id || d.Queue != "work" || d.Exchange != m.Exchange || d.RoutingKey != m.RoutingKey || d.Type != m.Type ||
		d.Priority != m.Priority || d.Count != 1 || d.ContentType != queue.ContentType || text(d) != "body" {
		t.Errorf("it arrived as %+v", d)
	}
	if len(d.Headers) != 2 || d.Headers["kind"] != "talk" || d.Headers["title"] != m.Headers["title"] {
		t.Errorf("with the headers %v", d.Headers)
	}
	if d.Traceparent != trace.String() {
		t.Errorf("with the trace %q", d.Traceparent)
	}
	if d.Published.Before(before) || d.Published.After(time.Now().Add(time.Minute)) {
		t.Errorf("published at %s", d.Published)
	}
}

// The database goes away with every connection, and comes back.
func databaseAway(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.publish(toWork, "first")
	s.until("the first message", got.has(1))
	if _, err := s.Superuser.Exec(`do $$ begin execute format('alter database %I connection limit 0', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Superuser.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tryPublish(toWork, "while away"); !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("publishing without a database: %v; want one that says to try again", err)
	}
	if _, err := s.Superuser.Exec(`do $$ begin execute format('alter database %I connection limit -1', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	s.until("a database that takes messages", func() bool { _, err := s.tryPublish(toWork, "second"); return err == nil })
	s.until("the second message", got.holds("second"))
}
