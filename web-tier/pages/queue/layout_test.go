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

// extent returns the rectangle that a text covers.
func (t textLine) extent() rect {
	w := textWidth(t.text, t.size)
	x := t.x
	if t.centered {
		x -= w / 2
	}
	return rect{x, t.y - int(t.size), w, int(t.size)}
}

func overlap(a, b rect) bool {
	return a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h
}

// checkLayout fails the test if elements overlap, or lie outside of the drawing or of
// their box.
func checkLayout(t *testing.T, d drawing) {
	t.Helper()
	boxes := d.boxes()
	for i, a := range boxes {
		if a.x < 0 || a.y < 0 || a.x+a.w > d.width || a.y+a.h > d.height {
			t.Errorf("box %+v is outside of the drawing of %d × %d", a, d.width, d.height)
		}
		for _, b := range boxes[:i] {
			if overlap(a, b) {
				t.Errorf("boxes %+v and %+v overlap", a, b)
			}
		}
	}
	var texts []textLine
	inside := func(box rect, lines ...textLine) {
		for _, line := range lines {
			if e := line.extent(); e.x < box.x || e.x+e.w > box.x+box.w || e.y < box.y || e.y+e.h > box.y+box.h {
				t.Errorf("text %q at %+v is outside of its box %+v", line.text, e, box)
			}
		}
		texts = append(texts, lines...)
	}
	for _, n := range slices.Concat(d.producers, d.consumers) {
		inside(n.rect, n.lines...)
	}
	for _, e := range d.exchanges {
		inside(e.rect, e.name, e.kind)
	}
	for _, q := range d.queues {
		inside(q.rect, q.name)
	}
	for _, b := range d.bindings {
		texts = append(texts, b.pattern)
		for _, box := range boxes {
			if overlap(b.pattern.extent(), box) {
				t.Errorf("pattern %q overlaps box %+v", b.pattern.text, box)
			}
		}
	}
	for i, a := range texts {
		for _, b := range texts[:i] {
			if overlap(a.extent(), b.extent()) {
				t.Errorf("texts %q and %q overlap", a.text, b.text)
			}
		}
	}
}

func TestLayoutHasNoOverlaps(t *testing.T) {
	for name, s := range map[string]*queuepb.Snapshot{"idle": logictest.IdleSnapshot(), "busy": logictest.BusySnapshot(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			checkLayout(t, layout(s, false))
			checkLayout(t, layout(s, true))
		})
	}
	for seed := range uint64(200) {
		s := randomSnapshot(rand.New(rand.NewPCG(seed, 0)))
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { checkLayout(t, layout(s, false)) })
	}
}

// randomSnapshot returns a random topology.
func randomSnapshot(r *rand.Rand) *queuepb.Snapshot {
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

// In the topology of the site, no two bindings cross.
func TestLayoutKeepsBindingsFromCrossing(t *testing.T) {
	d := layout(logictest.IdleSnapshot(), false)
	exchangeIndex := map[string]int{}
	for i, e := range d.exchanges {
		exchangeIndex[e.Name] = i
	}
	last := 0
	for _, q := range d.queues {
		for _, b := range d.bindings {
			if b.Queue != q.Name {
				continue
			}
			if exchangeIndex[b.Exchange] < last {
				t.Errorf("queue %s, bound to %s, is below a queue of a later exchange", q.Name, b.Exchange)
			}
			last = exchangeIndex[b.Exchange]
		}
	}
	if len(d.queues) != 7 || len(d.exchanges) != 3 || len(d.bindings) != 7 || len(d.producers) != 3 || len(d.consumers) != 1 {
		t.Errorf("got %d queues, %d exchanges, %d bindings, %d producers, %d consumers; want 7, 3, 7, 3, 1", len(d.queues), len(d.exchanges), len(d.bindings), len(d.producers), len(d.consumers))
	}
}

func TestLayoutSeparatesTestExchanges(t *testing.T) {
	d := layout(logictest.IdleSnapshot(), true)
	outlines := map[string]bool{}
	for _, e := range d.exchanges {
		if !e.Test {
			t.Errorf("got %s among the test exchanges", e.Name)
		}
		outlines[outline(e.Type, rect{})] = true
	}
	if len(d.exchanges) != 4 || len(outlines) != 4 {
		t.Errorf("got %d exchanges in %d shapes, want 4 in 4", len(d.exchanges), len(outlines))
	}
	if len(d.producers) != 1 || d.producers[0].lines[0].text != viewer {
		t.Errorf("got producers %+v, want %s", d.producers, viewer)
	}
}

func TestLayoutGroupsConsumersOfSameQueues(t *testing.T) {
	s := &queuepb.Snapshot{}
	consumers := []*queuepb.Consumer{}
	for i := range 100 {
		consumers = append(consumers, &queuepb.Consumer{Process: fmt.Sprintf("host-%d-%02d", i%6, i), Host: fmt.Sprint("host-", i%6)})
	}
	s.Queues = []*queuepb.Queue{{Name: "a", Consumers: consumers}, {Name: "b", Consumers: consumers}, {Name: "c", Consumers: consumers[:1]}}
	d := layout(s, false)
	checkLayout(t, d)
	var lines []string
	for _, n := range d.consumers {
		for _, line := range n.lines {
			lines = append(lines, line.text)
		}
	}
	if len(d.consumers) != 2 || lines[0] != "99 processes" || !slices.Contains(lines, "and on 2 more") {
		t.Errorf("got %d boxes with lines %q, want 2 boxes, the first of 99 processes", len(d.consumers), lines)
	}
}

func TestCompactFitsFiveCharacters(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 9999: "9,999", 10_000: "10.0k", 99_949: "99.9k", 99_960: "100k", 999_499: "999k", 999_500: "1.0M",
		12_345_678: "12.3M", 123_456_789_012: "123G",
	} {
		if got := compact(n); got != want || len(got) > 5 {
			t.Errorf("compact(%d): got %s, want %s", n, got, want)
		}
	}
	for r, want := range map[float64]string{0: "0", 0.01: "<0.1", 0.25: "0.2", 9.96: "10.0", 99.96: "100", 12_345: "12.3k"} {
		if got := compactRate(r); got != want || len(got) > 5 {
			t.Errorf("compactRate(%v): got %s, want %s", r, got, want)
		}
	}
}

func TestStatusOf(t *testing.T) {
	consumers := []*queuepb.Consumer{{}}
	for _, c := range []struct {
		q    *queuepb.Queue
		want status
	}{
		{&queuepb.Queue{Consumers: consumers}, status{"calm", "Empty"}},
		{&queuepb.Queue{}, status{"warn", "No consumer"}},
		{&queuepb.Queue{DelayedCount: 1}, status{"bad", "No consumer"}},
		{&queuepb.Queue{Consumers: consumers, ReadyCount: 500, InRate: 20, OutRate: 10}, status{"warn", "Backlog growing"}},
		{&queuepb.Queue{Consumers: consumers, ReadyCount: 500, InRate: 20, OutRate: 19}, status{"live", "Active"}},
		{&queuepb.Queue{Consumers: consumers, ReadyCount: 5, InRate: 20}, status{"warn", "Waiting"}},
		{&queuepb.Queue{Consumers: consumers, UnacknowledgedCount: 1}, status{"live", "Active"}},
		{&queuepb.Queue{Consumers: consumers, DelayedCount: 1}, status{"calm", "Delayed"}},
	} {
		if got := statusOf(c.q); got != c.want {
			t.Errorf("statusOf(%v): got %v, want %v", c.q, got, c.want)
		}
	}
}
