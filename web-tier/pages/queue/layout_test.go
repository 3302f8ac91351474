package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/platform/logictest"
)

// extent is the room that a text takes.
func (t text) extent() place {
	w := room(t.text, t.size)
	x := t.x
	if t.middle {
		x -= w / 2
	}
	return place{x, t.y - int(t.size), w, int(t.size)}
}

func overlap(a, b place) bool {
	return a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h
}

// sound fails the test for what overlaps, or is not in the drawing.
func sound(t *testing.T, d drawing) {
	t.Helper()
	all := d.places()
	for i, a := range all {
		if a.x < 0 || a.y < 0 || a.x+a.w > d.width || a.y+a.h > d.height {
			t.Errorf("%+v is outside of %d × %d", a, d.width, d.height)
		}
		for _, b := range all[:i] {
			if overlap(a, b) {
				t.Errorf("%+v and %+v overlap", a, b)
			}
		}
	}
	var texts []text
	inside := func(p place, lines ...text) {
		for _, line := range lines {
			if e := line.extent(); e.x < p.x || e.x+e.w > p.x+p.w || e.y < p.y || e.y+e.h > p.y+p.h {
				t.Errorf("%q at %+v is not in its box %+v", line.text, e, p)
			}
		}
		texts = append(texts, lines...)
	}
	for _, n := range slices.Concat(d.producers, d.consumers) {
		inside(n.place, n.lines...)
	}
	for _, e := range d.exchanges {
		inside(e.place, e.name, e.kind)
	}
	for _, q := range d.queues {
		inside(q.place, q.name)
	}
	for _, b := range d.bindings {
		texts = append(texts, b.pattern)
		for _, p := range all {
			if overlap(b.pattern.extent(), p) {
				t.Errorf("the pattern %q is in the box %+v", b.pattern.text, p)
			}
		}
	}
	for i, a := range texts {
		for _, b := range texts[:i] {
			if overlap(a.extent(), b.extent()) {
				t.Errorf("%q and %q overlap", a.text, b.text)
			}
		}
	}
}

func TestWhatIsDrawnDoesNotOverlap(t *testing.T) {
	for name, s := range map[string]*queuepb.Snapshot{"idle": logictest.IdleSnapshot(), "busy": logictest.BusySnapshot(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			sound(t, layout(s, false))
			sound(t, layout(s, true))
		})
	}
	for seed := range uint64(200) {
		s := anything(rand.New(rand.NewPCG(seed, 0)))
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { sound(t, layout(s, false)) })
	}
}

// anything is a topology as nobody would build it.
func anything(r *rand.Rand) *queuepb.Snapshot {
	s := &queuepb.Snapshot{}
	name := func(kind string, n int) string {
		return fmt.Sprintf("%s.%d%s", kind, n, strings.Repeat("-long", r.IntN(12)))
	}
	for i := range r.IntN(7) {
		e := &queuepb.Exchange{Name: name("exchange", i), Type: []string{"direct", "topic", "fanout", "headers", "new"}[r.IntN(5)]}
		for j := range r.IntN(3) {
			e.Producers = append(e.Producers, name("module", j))
		}
		s.Exchanges = append(s.Exchanges, e)
	}
	for i := range r.IntN(12) {
		q := &queuepb.Queue{Name: name("queue", i)}
		for j := range r.IntN(20) {
			q.Consumers = append(q.Consumers, &queuepb.Consumer{Process: fmt.Sprint("process-", j), Host: name("host", j/3)})
		}
		s.Queues = append(s.Queues, q)
	}
	for range r.IntN(30) {
		if len(s.Exchanges) > 0 && len(s.Queues) > 0 {
			s.Bindings = append(s.Bindings, &queuepb.Binding{
				Exchange: s.Exchanges[r.IntN(len(s.Exchanges))].Name, Queue: s.Queues[r.IntN(len(s.Queues))].Name, Pattern: name("a.#", r.IntN(9)),
			})
		}
	}
	return s
}

// Queues stand beside their exchanges: in the site's own topology no two bindings
// cross.
func TestBindingsDoNotCross(t *testing.T) {
	d := layout(logictest.IdleSnapshot(), false)
	at := map[string]int{}
	for i, e := range d.exchanges {
		at[e.Name] = i
	}
	last := 0
	for _, q := range d.queues {
		for _, b := range d.bindings {
			if b.Queue != q.Name {
				continue
			}
			if at[b.Exchange] < last {
				t.Errorf("%s, bound to %s, stands below a queue of a later exchange", q.Name, b.Exchange)
			}
			last = at[b.Exchange]
		}
	}
	if len(d.queues) != 7 || len(d.exchanges) != 3 || len(d.bindings) != 7 || len(d.producers) != 3 || len(d.consumers) != 1 {
		t.Errorf("drawn: %d queues, %d exchanges, %d bindings, %d producers, %d consumers", len(d.queues), len(d.exchanges), len(d.bindings), len(d.producers), len(d.consumers))
	}
}

func TestTestExchangesAreDrawnApart(t *testing.T) {
	d := layout(logictest.IdleSnapshot(), true)
	outlines := map[string]bool{}
	for _, e := range d.exchanges {
		if !e.Test {
			t.Errorf("%s is drawn among the test exchanges", e.Name)
		}
		outlines[outline(e.Type, place{})] = true
	}
	if len(d.exchanges) != 4 || len(outlines) != 4 {
		t.Errorf("%d exchanges in %d shapes", len(d.exchanges), len(outlines))
	}
	if len(d.producers) != 1 || d.producers[0].lines[0].text != somebody {
		t.Errorf("producers: %+v", d.producers)
	}
}

// Processes that consume the same are one box, however many there are.
func TestConsumersOfTheSameQueuesAreOneBox(t *testing.T) {
	s := &queuepb.Snapshot{}
	all := []*queuepb.Consumer{}
	for i := range 100 {
		all = append(all, &queuepb.Consumer{Process: fmt.Sprintf("host-%d-%02d", i%6, i), Host: fmt.Sprint("host-", i%6)})
	}
	s.Queues = []*queuepb.Queue{{Name: "a", Consumers: all}, {Name: "b", Consumers: all}, {Name: "c", Consumers: all[:1]}}
	d := layout(s, false)
	sound(t, d)
	var drawn []string
	for _, n := range d.consumers {
		for _, line := range n.lines {
			drawn = append(drawn, line.text)
		}
	}
	if len(d.consumers) != 2 || drawn[0] != "99 processes" || !slices.Contains(drawn, "and on 2 more") {
		t.Errorf("drawn: %q", drawn)
	}
}

func TestFiguresFit(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 9999: "9,999", 10_000: "10.0k", 99_949: "99.9k", 99_960: "100k", 999_499: "999k", 999_500: "1.0M",
		12_345_678: "12.3M", 123_456_789_012: "123G",
	} {
		if got := short(n); got != want || len(got) > 5 {
			t.Errorf("short(%d): %s, want %s", n, got, want)
		}
	}
	for r, want := range map[float64]string{0: "0", 0.01: "<0.1", 0.25: "0.2", 9.96: "10.0", 99.96: "100", 12_345: "12.3k"} {
		if got := shortRate(r); got != want || len(got) > 5 {
			t.Errorf("shortRate(%v): %s, want %s", r, got, want)
		}
	}
}

func TestHowAQueueStands(t *testing.T) {
	one := []*queuepb.Consumer{{}}
	for _, c := range []struct {
		q    *queuepb.Queue
		want standing
	}{
		{&queuepb.Queue{Consumers: one}, standing{"calm", "Empty"}},
		{&queuepb.Queue{}, standing{"warn", "No consumer"}},
		{&queuepb.Queue{DelayedCount: 1}, standing{"bad", "No consumer"}},
		{&queuepb.Queue{Consumers: one, ReadyCount: 500, InRate: 20, OutRate: 10}, standing{"warn", "Backlog grows"}},
		{&queuepb.Queue{Consumers: one, ReadyCount: 500, InRate: 20, OutRate: 19}, standing{"live", "Works"}},
		{&queuepb.Queue{Consumers: one, ReadyCount: 5, InRate: 20}, standing{"warn", "Waits"}},
		{&queuepb.Queue{Consumers: one, UnacknowledgedCount: 1}, standing{"live", "Works"}},
		{&queuepb.Queue{Consumers: one, DelayedCount: 1}, standing{"calm", "Delayed"}},
	} {
		if got := stands(c.q); got != c.want {
			t.Errorf("%v: %v, want %v", c.q, got, c.want)
		}
	}
}
