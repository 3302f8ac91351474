package transport

import "testing"

func TestShares_LeaveSlotsForOthers(t *testing.T) {
	s := NewShares(8)
	take := func(holder string) (n int) {
		for s.Acquire(holder) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		holder string
		want   int
	}{{"a", 4}, {"b", 2}, {"c", 1}, {"a", 0}, {"d", 1}, {"e", 0}} {
		if got := take(step.holder); got != step.want {
			t.Errorf("holder %s: got %d slots, want %d", step.holder, got, step.want)
		}
	}
	for range 4 {
		s.Release("a")
	}
	if got := take("e"); got != 2 {
		t.Errorf("holder e after a released its slots: got %d slots, want 2", got)
	}
	for holder, n := range map[string]int{"b": 2, "c": 1, "d": 1, "e": 2} {
		for range n {
			s.Release(holder)
		}
	}
	if len(s.held) != 0 || s.free != 8 {
		t.Errorf("got %v held and %d free after all slots were released, want none held and 8 free", s.held, s.free)
	}
}
