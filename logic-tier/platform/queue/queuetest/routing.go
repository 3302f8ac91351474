package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// all bounds everything that is published to one exchange: a fanout to every
// queue. With one handler a queue, whatever was published before end is there
// before it.
const all, end = "all", "end"

// closed adds the exchange "all", bound to every queue.
func closed(t queue.Topology) queue.Topology {
	t.Exchanges = append(t.Exchanges, queue.Exchange{Name: all, Type: queue.Fanout})
	for i := range t.Queues {
		t.Queues[i].Bindings = append(t.Queues[i].Bindings, queue.Binding{Exchange: all})
	}
	return t
}

// read consumes queues, each with one handler, until end came out of all.
func (s *site) read(names ...string) map[string][]string {
	s.t.Helper()
	got := map[string]*notes{}
	for _, name := range names {
		n := &notes{}
		got[name] = n
		defer s.consume(s.engine, queue.Consumer{Queue: name, Concurrency: 1, Handle: n.handle})()
	}
	s.publish(queue.Message{Exchange: all}, end)
	read := map[string][]string{}
	for name, n := range got {
		s.until("the last message of "+name, n.holds(end))
		read[name] = slices.DeleteFunc(n.texts(), func(text string) bool { return text == end })
	}
	return read
}

func routesByType(t *testing.T, place *Place) {
	headers := func(pairs ...string) map[string]string {
		made := map[string]string{}
		for _, pair := range pairs {
			key, value, _ := strings.Cut(pair, "=")
			made[key] = value
		}
		return made
	}
	topology := closed(queue.Topology{
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
	s := newSite(t, place, topology)
	want := map[string][]string{}
	for i, c := range []struct {
		exchange, key string
		headers       map[string]string
		reaches       []string
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
		s.publish(queue.Message{Exchange: c.exchange, RoutingKey: c.key, Headers: c.headers}, body)
		for _, name := range c.reaches {
			want[name] = append(want[name], body)
		}
		// What drawings say is what engines do.
		for _, q := range topology.Queues {
			matches := slices.ContainsFunc(q.Bindings, func(b queue.Binding) bool {
				at := slices.IndexFunc(topology.Exchanges, func(e queue.Exchange) bool { return e.Name == c.exchange })
				return b.Exchange == c.exchange && topology.Exchanges[at].Type.Matches(b, c.key, c.headers)
			})
			if matches != slices.Contains(c.reaches, q.Name) {
				t.Errorf("Matches says %v of %s to %s", matches, body, q.Name)
			}
		}
	}
	names := []string{"exact", "star", "middle", "twice", "fan", "both", "either", "every"}
	got := s.read(names...)
	for _, name := range names {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s got %q, want %q", name, got[name], want[name])
		}
	}
}

func oldBindingsGo(t *testing.T, place *Place) {
	topology := func(pattern string) queue.Topology {
		return closed(queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues: []queue.Queue{
				{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: pattern}}},
				{Name: "rest", Bindings: []queue.Binding{{Exchange: "t", Pattern: "#"}}},
			},
		})
	}
	s := newSite(t, place, topology("old"))
	if err := s.engine.Declare(t.Context(), topology("new")); err != nil {
		t.Fatal(err)
	}
	s.publish(queue.Message{Exchange: "t", RoutingKey: "old"}, "x")
	s.publish(queue.Message{Exchange: "t", RoutingKey: "new"}, "y")
	got := s.read("q", "rest")
	if !slices.Equal(got["q"], []string{"y"}) || !slices.Equal(got["rest"], []string{"x", "y"}) {
		t.Errorf("got %v, want y by the new binding, and both where both belong", got)
	}
}

func badTopology(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	topic := []queue.Exchange{{Name: "t", Type: queue.Topic}}
	for what, c := range map[string]struct {
		topology queue.Topology
		says     string
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
		"headers where none are looked at": {
			queue.Topology{Exchanges: topic, Queues: []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Headers: map[string]string{"a": "b"}}}}}},
			"exchange ignores",
		},
	} {
		if err := s.engine.Declare(t.Context(), c.topology); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q", what, err, c.says)
		}
	}
}

func exclusiveQueues(t *testing.T, place *Place) {
	topology := queue.Topology{
		Exchanges: []queue.Exchange{{Name: "f", Type: queue.Fanout}},
		Queues: []queue.Queue{
			{Name: "replica", Exclusive: true, Bindings: []queue.Binding{{Exchange: "f"}}},
			{Name: "kept", Bindings: []queue.Binding{{Exchange: "f"}}},
		},
	}
	s := newSite(t, place, topology)
	first, second := &notes{}, &notes{}
	s.consume(s.engine, queue.Consumer{Queue: "replica", Concurrency: 1, Handle: first.handle})
	stop := s.consume(s.process(topology), queue.Consumer{Queue: "replica", Concurrency: 1, Handle: second.handle})
	greet := queue.Message{Exchange: "f"}
	// A queue is there from when its consumer has begun, which takes a moment.
	s.until("a message at each", func() bool {
		s.publish(greet, "hello")
		return len(first.all()) > 0 && len(second.all()) > 0
	})
	s.publish(greet, "to both")
	s.until("it at each", func() bool { return first.holds("to both")() && second.holds("to both")() })
	for _, d := range append(first.all(), second.all()...) {
		if d.Queue != "replica" {
			t.Fatalf("it came from %q, want the declared name", d.Queue)
		}
	}
	stop()
	s.publish(greet, "to one")
	s.until("it at the one that is left", first.holds("to one"))
	s.untilDepth("replica", "no queue of who is gone", empty)
	if second.holds("to one")() {
		t.Error("who has stopped got a message")
	}
	kept := &notes{}
	s.consume(s.engine, queue.Consumer{Queue: "kept", Handle: kept.handle})
	s.until("everything where it is kept", kept.holds("to one"))
}

func unroutable(t *testing.T, place *Place) {
	bound := func(pattern string) queue.Topology {
		return queue.Topology{
			Exchanges: []queue.Exchange{{Name: "t", Type: queue.Topic}},
			Queues:    []queue.Queue{{Name: "q", Bindings: []queue.Binding{{Exchange: "t", Pattern: pattern}}}},
		}
	}
	s := newSite(t, place, bound("somewhere"))
	id, err := s.tryPublish(queue.Message{Exchange: "t", RoutingKey: "elsewhere"}, "lost?")
	if err != nil {
		t.Fatal(err)
	}
	s.until("it among the dead letters", func() bool { return s.dead(ledger.Unroutable) == 1 })
	letter, err := ledger.FindDeadLetter(t.Context(), s.Queue, ledger.Unroutable, id)
	if err != nil || !strings.Contains(letter.Error, "no binding") || letter.RoutingKey != "elsewhere" {
		t.Fatalf("got %+v, %v", letter, err)
	}
	if err := s.engine.Declare(t.Context(), bound("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.engine.Redrive(t.Context(), ledger.Unroutable, []int64{id}); n != 1 || err != nil {
		t.Fatalf("%d were published again, %v", n, err)
	}
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "q", Handle: got.handle})
	s.until("the message", got.holds("lost?"))
	if got.all()[0].ID != id || s.dead(ledger.Unroutable) != 0 {
		t.Error("it is another message, or still dead")
	}
}
