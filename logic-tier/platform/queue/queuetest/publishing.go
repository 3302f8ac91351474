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

func testInvalidMessages(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	for want, m := range map[string]queue.Message{
		`exchange "nowhere" is not declared`: {Exchange: "nowhere"},
		"use at most 255":                    {Exchange: "work", RoutingKey: strings.Repeat("k", 256)},
		"use 0 to 9":                         {Exchange: "work", Priority: 10},
		"use at most 720h0m0s":               {Exchange: "work", Delay: 31 * 24 * time.Hour},
		"use at most 4096":                   {Exchange: "work", Headers: map[string]string{"h": strings.Repeat("x", 5000)}},
	} {
		if _, err := f.tryPublish(m, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := f.tryPublish(workMessage, strings.Repeat("x", queue.MaxBody)); err == nil || !strings.Contains(err.Error(), "use at most 65536") {
		t.Errorf("got %v, want an error with the limit of a body", err)
	}
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	// The limits themselves are valid.
	f.publish(queue.Message{Exchange: "work", RoutingKey: strings.Repeat("k", queue.MaxRoutingKey), Headers: map[string]string{"h": strings.Repeat("x", 4000)}},
		strings.Repeat("y", queue.MaxBody-10))
	f.until("a message", got.atLeast(1))
	if d := got.all()[0]; text(d)[0] != 'y' || len(d.RoutingKey) != queue.MaxRoutingKey {
		t.Errorf("got a message with the key %q, want the valid one", d.RoutingKey)
	}
}

func testRollback(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	errRollback := errors.New("roll back")
	err := f.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		if _, err := f.engine.Publish(t.Context(), tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String("rolled back")}); err != nil {
			return err
		}
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		t.Fatal(err)
	}
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	f.publish(workMessage, "committed")
	f.until("the committed message", got.contains("committed"))
	if got.contains("rolled back")() {
		t.Error("a rolled-back message was delivered")
	}
}

func testPublishWithoutTransaction(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	id, err := f.engine.Publish(t.Context(), f.Module, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String("alone")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.engine.Publish(t.Context(), f.Module, queue.Message{Exchange: "nowhere", Type: "test", Body: wrapperspb.String("lost")}); err == nil {
		t.Error("got no error for an exchange that is not declared")
	}
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.until("the message", got.atLeast(1))
	if d := got.all()[0]; d.ID != id || text(d) != "alone" {
		t.Errorf("got message %d with %q, want %d with %q", d.ID, text(d), id, "alone")
	}
}

func testDeliveredFields(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	trace, ok := transport.ParseTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if !ok {
		t.Fatal("cannot parse the trace")
	}
	m := queue.Message{
		Exchange: "work", RoutingKey: "a.b", Type: "talk.published", Priority: 3,
		Headers: map[string]string{"kind": "talk", "title": "Über “λ”"}, Body: wrapperspb.String("body"),
	}
	before := time.Now().Add(-time.Minute)
	var id int64
	err := f.Module.InTransaction(t.Context(), func(tx *postgres.Tx) (err error) {
		id, err = f.engine.Publish(transport.WithTrace(t.Context(), trace), tx, m)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.until("the message", got.atLeast(1))
	d := got.all()[0]
	if d.ID != id || d.Queue != "work" || d.Exchange != m.Exchange || d.RoutingKey != m.RoutingKey || d.Type != m.Type ||
		d.Priority != m.Priority || d.Count != 1 || d.ContentType != queue.ContentType || text(d) != "body" {
		t.Errorf("got %+v, want the fields of %+v", d, m)
	}
	if len(d.Headers) != 2 || d.Headers["kind"] != "talk" || d.Headers["title"] != m.Headers["title"] {
		t.Errorf("got headers %v, want %v", d.Headers, m.Headers)
	}
	if d.Traceparent != trace.String() {
		t.Errorf("got trace %q, want %q", d.Traceparent, trace)
	}
	if d.Published.Before(before) || d.Published.After(time.Now().Add(time.Minute)) {
		t.Errorf("got publication time %s, want about now", d.Published)
	}
}

// testDatabaseUnavailable closes all connections to the database and rejects new ones
// for a while.
func testDatabaseUnavailable(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.publish(workMessage, "first")
	f.until("the first message", got.atLeast(1))
	if _, err := f.Superuser.Exec(`do $$ begin execute format('alter database %I connection limit 0', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Superuser.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.tryPublish(workMessage, "unavailable"); !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("publish without a database: got %v, want postgres.ErrUnavailable", err)
	}
	if _, err := f.Superuser.Exec(`do $$ begin execute format('alter database %I connection limit -1', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	f.until("a successful publication", func() bool { _, err := f.tryPublish(workMessage, "second"); return err == nil })
	f.until("the second message", got.contains("second"))
}
