package prefetch_test

import (
	"slices"
	"sync"
	"testing"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/prefetch"
)

func TestTheHighestPriorityComesFirstAndWithinOneTheOldest(t *testing.T) {
	t.Parallel()
	b := prefetch.New[string](6)
	for _, m := range []struct {
		priority int
		name     string
	}{{0, "first"}, {5, "urgent"}, {0, "second"}, {queue.MaxPriority, "most urgent"}, {5, "urgent too"}, {0, "third"}} {
		b.Put(m.priority, m.name)
	}
	b.Close()
	want := []string{"most urgent", "urgent", "urgent too", "first", "second", "third"}
	if got := slices.Collect(b.InTurn()); !slices.Equal(got, want) {
		t.Errorf("they come as %v, want %v", got, want)
	}
}

func TestEachComesToOneOfThoseThatTake(t *testing.T) {
	t.Parallel()
	const messages = 10_000
	b := prefetch.New[int](16)
	var mu sync.Mutex
	var got []int
	var takers sync.WaitGroup
	for range 4 {
		takers.Go(func() {
			for one := range b.InTurn() {
				mu.Lock()
				got = append(got, one)
				mu.Unlock()
			}
		})
	}
	for i := range messages {
		b.Put(i%(queue.MaxPriority+1), i)
	}
	b.Close()
	takers.Wait()
	slices.Sort(got)
	if len(got) != messages || len(slices.Compact(got)) != messages {
		t.Errorf("%d of %d came", len(got), messages)
	}
}
