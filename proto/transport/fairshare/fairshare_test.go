package fairshare

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestLimiter_RejectsAKeyAboveItsShareOnly(t *testing.T) {
	l := New(4)
	greedy := []Share{{"session:a", 2}, {"address:1", 3}}
	for range 2 {
		if _, err := l.Acquire(greedy...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Acquire(greedy...); !errors.Is(err, ErrShare) {
		t.Errorf("third slot of a session with a share of 2: got %v, want %v", err, ErrShare)
	}
	sameAddress := []Share{{"session:b", 2}, {"address:1", 3}}
	release, err := l.Acquire(sameAddress...)
	if err != nil {
		t.Errorf("third slot of an address with a share of 3: got %v, want nil", err)
	}
	if _, err := l.Acquire(sameAddress...); !errors.Is(err, ErrShare) {
		t.Errorf("fourth slot of an address with a share of 3: got %v, want %v", err, ErrShare)
	}
	if _, err := l.Acquire(Share{"", 0}, Share{"address:2", 1}); err != nil {
		t.Errorf("first slot of another address: got %v, want nil", err)
	}
	if _, err := l.Acquire(Share{"address:3", 1}); !errors.Is(err, ErrFull) {
		t.Errorf("fifth of four slots: got %v, want %v", err, ErrFull)
	}
	release()
	release()
	if n := l.InUse(); n != 3 {
		t.Errorf("got %d slots in use after one was released twice, want 3", n)
	}
	if _, err := l.Acquire(sameAddress...); err != nil {
		t.Errorf("released slot: got %v, want nil", err)
	}
}

func TestLimiter_KeepsNoEntryForKeysWithoutASlot(t *testing.T) {
	l := New(10)
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := range 1000 {
				release, err := l.Acquire(Share{fmt.Sprint(worker, i), 1}, Share{"shared", 10})
				if err != nil {
					t.Error(err)
					return
				}
				release()
			}
		})
	}
	group.Wait()
	if len(l.held) != 0 || l.inUse != 0 {
		t.Errorf("got %d keys and %d slots in use, want none", len(l.held), l.inUse)
	}
}
