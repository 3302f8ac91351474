package prefetch_test

import (
	"slices"
	"sync"
	"testing"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/prefetch"
)

func TestBuffer_OrdersByPriorityThenArrival(t *testing.T) {
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
	if got := slices.Collect(b.Receive()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBuffer_DeliversEachMessageToOneReceiver(t *testing.T) {
	t.Parallel()
	const messages = 10_000
	b := prefetch.New[int](16)
	var mu sync.Mutex
	var got []int
	var receivers sync.WaitGroup
	for range 4 {
		receivers.Go(func() {
			for m := range b.Receive() {
				mu.Lock()
				got = append(got, m)
				mu.Unlock()
			}
		})
	}
	for i := range messages {
		b.Put(i%(queue.MaxPriority+1), i)
	}
	b.Close()
	receivers.Wait()
	slices.Sort(got)
	if distinct := len(slices.Compact(slices.Clone(got))); len(got) != messages || distinct != messages {
		t.Errorf("got %d deliveries of %d messages, want %d of each", len(got), distinct, messages)
	}
}
