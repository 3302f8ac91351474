package transport

import "testing"

func TestShares_LeavePlacesForOthers(t *testing.T) {
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
			t.Errorf("%s got %d places, want %d", step.holder, got, step.want)
		}
	}
	for range 4 {
		s.Release("a")
	}
	if got := take("e"); got != 2 {
		t.Errorf("after a returned its places, e got %d, want 2", got)
	}
	for holder, n := range map[string]int{"b": 2, "c": 1, "d": 1, "e": 2} {
		for range n {
			s.Release(holder)
		}
	}
	if len(s.held) != 0 || s.free != 8 {
		t.Errorf("after all places were returned, %v are held and %d free", s.held, s.free)
	}
}
