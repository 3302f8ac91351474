package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// endMessage is published to endExchange, a fanout to every queue, after all other
// messages of a test. A queue with one handler delivers it last.
const endExchange, endMessage = "end", "end"

// withEndExchange adds the end exchange and binds every queue to it.
func withEndExchange(t queue.Topology) queue.Topology {
	t.Exchanges = append(t.Exchanges, queue.Exchange{Name: endExchange, Type: queue.Fanout})
	for i := range t.Queues {
		t.Queues[i].Bindings = append(t.Queues[i].Bindings, queue.Binding{Exchange: endExchange})
	}
	return t
}

// consumeAll consumes queues, each with one handler, and returns their messages up
// to the end message.
func (f *fixture) consumeAll(names ...string) map[string][]string {
	f.t.Helper()
	byQueue := map[string]*received{}
	for _, name := range names {
		r := &received{}
		byQueue[name] = r
		defer f.consume(f.engine, queue.Consumer{Queue: name, Concurrency: 1, Handle: r.handle})()
	}
	f.publish(queue.Message{Exchange: endExchange}, endMessage)
	texts := map[string][]string{}
	for name, r := range byQueue {
		f.until("the end message of "+name, r.contains(endMessage))
		texts[name] = slices.DeleteFunc(r.texts(), func(text string) bool { return text == endMessage })
	}
	return texts
}

func testRouting(t *testing.T, env *Env) {
	headers := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for _, pair := range pairs {
			key, value, _ := strings.Cut(pair, "=")
			m[key] = value
		}
		return m
	}
	topology := withEndExchange(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "d", Type: queue.Direct}, {Name: "t", Type: queue.Topic}, {Name: "f", Type: queue.Fanout}, {Name: "h", Type: queue.Headers}},
		Queues: []queue.Queue{
			{Name: "exact", Bindings: []queue.Binding{{Exchange: "d", Pattern: "a.b"}, {Exchange: "t", Pattern: "a.b"}}},
			{Name: "star", Bindings: []queue.Binding{{Exchange: "d", Pattern: "a.*"}, {Exchange: "t", Pattern: "a.*"}}},
			{Name: "middle", Bindings: []queue.Binding{{Exchange: "t", Pattern: "a.#.z"}}},
			{Name: "twice", Bindings: []queue.Binding{{Exchange: "t", Pattern: "a.#"}, {Exchange: "t", Pattern: "#"}}},
			{Name: "fan", Bindings: []queue.Binding{{Exchange: "f", Pattern: "whatever"}}},
			{Name: "both", Bindings: []queue.Binding{{Exchange: "h", Headers: headers("kind=talk", "language=en")}}},
			{Name: "either", Bindings: []queue.Binding{{Exchange: "h", Headers: headers("kind=talk", "language=en"), AnyHeader: true}}},
			{Name: "every", Bindings: []queue.Binding{{Exchange: "h"}}},
		},
	})
	f := newFixture(t, env, topology)
	want := map[string][]string{}
	for i, c := range []struct {
		exchange, key string
		headers       map[string]string
		queues        []string
	}{
		{"d", "a.b", nil, []string{"exact"}},
		{"d", "a.*", nil, []string{"star"}},
		{"t", "a.b", nil, []string{"exact", "star", "twice"}},
		{"t", "a.b.c", nil, []string{"twice"}},
		{"t", "a.z", nil, []string{"star", "middle", "twice"}},
		{"t", "a.b.c.z", nil, []string{"middle", "twice"}},
		{"t", "z", nil, []string{"twice"}},
		{"t", "", nil, []string{"twice"}},
		{"f", "", nil, []string{"fan"}},
		{"h", "a.b", headers("kind=talk", "language=en", "more=yes"), []string{"both", "either", "every"}},
		{"h", "", headers("kind=talk"), []string{"either", "every"}},
		{"h", "", headers("kind=channel", "language=de"), []string{"every"}},
		{"h", "", nil, []string{"every"}},
	} {
		body := fmt.Sprintf("%d: %s %q %v", i, c.exchange, c.key, c.headers)
		f.publish(queue.Message{Exchange: c.exchange, RoutingKey: c.key, Headers: c.headers}, body)
		for _, name := range c.queues {
			want[name] = append(want[name], body)
		}
		// Matches agrees with the engine.
		for _, q := range topology.Queues {
			matches := slices.ContainsFunc(q.Bindings, func(b queue.Binding) bool {
				i := slices.IndexFunc(topology.Exchanges, func(e queue.Exchange) bool { return e.Name == c.exchange })
				return b.Exchange == c.exchange && topology.Exchanges[i].Type.Matches(b, c.key, c.headers)
			})
			if want := slices.Contains(c.queues, q.Name); matches != want {
				t.Errorf("Matches: got %v for %s and queue %s, want %v", matches, body, q.Name, want)
			}
		}
	}
	names := []string{"exact", "star", "middle", "twice", "fan", "both", "either", "every"}
	got := f.consumeAll(names...)
	for _, name := range names {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("queue %s: got %q, want %q", name, got[name], want[name])
		}
	}
}

func testObsoleteBindings(t *testing.T, env *Env) {
	topology := func(pattern string) queue.Topology {
		return withEndExchange(queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues: []queue.Queue{
				{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: pattern}}},
				{Name: "rest", Bindings: []queue.Binding{{Exchange: "t", Pattern: "#"}}},
			},
		})
	}
	f := newFixture(t, env, topology("old"))
	if err := f.engine.Declare(t.Context(), topology("new")); err != nil {
		t.Fatal(err)
	}
	f.publish(queue.Message{Exchange: "t", RoutingKey: "old"}, "x")
	f.publish(queue.Message{Exchange: "t", RoutingKey: "new"}, "y")
	got := f.consumeAll("q", "rest")
	if !slices.Equal(got["q"], []string{"y"}) || !slices.Equal(got["rest"], []string{"x", "y"}) {
		t.Errorf("got %v, want y in q and both messages in rest", got)
	}
}

func testInvalidTopology(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	topic := []queue.Exchange{{Name: "t", Type: queue.Topic}}
	for name, c := range map[string]struct {
		topology queue.Topology
		want     string
	}{
		"another type":     {queue.Topology{Exchanges: []queue.Exchange{{Name: "work", Type: queue.Direct}}}, "is fanout in the database and direct in this program"},
		"no such exchange": {queue.Topology{Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "nowhere"}}}}}, `exchange "nowhere", which is not declared`},
		"no such exchange, exclusive": {
			queue.Topology{Queues: []queue.Queue{{Name: "q", Exclusive: true, Bindings: []queue.Binding{{Exchange: "nowhere"}}}}},
			`exchange "nowhere", which is not declared`,
		},
		"a pattern of spaces": {
			queue.Topology{Exchanges: topic, Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: "a b"}}}}},
			`"a b" is not a word`,
		},
		"a pattern that is too long": {
			queue.Topology{Exchanges: topic, Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: strings.Repeat("a", 256)}}}}},
			"use at most 255",
		},
		"headers for a topic exchange": {
			queue.Topology{Exchanges: topic, Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Headers: map[string]string{"a": "b"}}}}}},
			"exchange ignores",
		},
	} {
		if err := f.engine.Declare(t.Context(), c.topology); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func testExclusiveQueues(t *testing.T, env *Env) {
	topology := queue.Topology{
		Exchanges: []queue.Exchange{{Name: "f", Type: queue.Fanout}},
		Queues: []queue.Queue{
			{Name: "replica", Exclusive: true, Bindings: []queue.Binding{{Exchange: "f"}}},
			{Name: "shared", Bindings: []queue.Binding{{Exchange: "f"}}},
		},
	}
	f := newFixture(t, env, topology)
	first, second := &received{}, &received{}
	f.consume(f.engine, queue.Consumer{Queue: "replica", Concurrency: 1, Handle: first.handle})
	stop := f.consume(f.newProcess(topology), queue.Consumer{Queue: "replica", Concurrency: 1, Handle: second.handle})
	m := queue.Message{Exchange: "f"}
	// A consumer creates its queue some time after it starts.
	f.until("a message at each consumer", func() bool {
		f.publish(m, "hello")
		return len(first.all()) > 0 && len(second.all()) > 0
	})
	f.publish(m, "to both")
	f.until("the message at both consumers", func() bool { return first.contains("to both")() && second.contains("to both")() })
	for _, d := range append(first.all(), second.all()...) {
		if d.Queue != "replica" {
			t.Fatalf("got queue %q, want the declared name replica", d.Queue)
		}
	}
	stop()
	f.publish(m, "to one")
	f.until("the message at the remaining consumer", first.contains("to one"))
	f.untilDepth("replica", "the deletion of the stopped consumer's queue", empty)
	if second.contains("to one")() {
		t.Error("a stopped consumer received a message")
	}
	shared := &received{}
	f.consume(f.engine, queue.Consumer{Queue: "shared", Handle: shared.handle})
	f.until("the message in the shared queue", shared.contains("to one"))
}

func testUnroutable(t *testing.T, env *Env) {
	topology := func(pattern string) queue.Topology {
		return queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: pattern}}}},
		}
	}
	f := newFixture(t, env, topology("somewhere"))
	id, err := f.tryPublish(queue.Message{Exchange: "t", RoutingKey: "elsewhere"}, "lost?")
	if err != nil {
		t.Fatal(err)
	}
	f.until("a dead letter", func() bool { return f.deadLetters(ledger.Unroutable) == 1 })
	letter, err := ledger.FindDeadLetter(t.Context(), f.Queue, ledger.Unroutable, id)
	if err != nil || !strings.Contains(letter.Error, "no binding") || letter.RoutingKey != "elsewhere" {
		t.Fatalf("got dead letter %+v, %v; want one without a matching binding", letter, err)
	}
	if err := f.engine.Declare(t.Context(), topology("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if n, err := f.engine.Redrive(t.Context(), ledger.Unroutable, []int64{id}); n != 1 || err != nil {
		t.Fatalf("redrive: got %d, %v; want 1", n, err)
	}
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "q", Handle: got.handle})
	f.until("the message", got.contains("lost?"))
	if d := got.all()[0]; d.ID != id || f.deadLetters(ledger.Unroutable) != 0 {
		t.Errorf("got message %d and %d dead letters, want message %d and none", d.ID, f.deadLetters(ledger.Unroutable), id)
	}
}
