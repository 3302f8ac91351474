package fairshare

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestLimiter_RefusesAKeyBeyondItsShareAndServesOthers(t *testing.T) {
	l := New(4)
	greedy := []Share{{"session:a", 2}, {"address:1", 3}}
	for range 2 {
		if _, err := l.Acquire(greedy...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Acquire(greedy...); !errors.Is(err, ErrShare) {
		t.Errorf("third slot of a session with a share of 2: %v", err)
	}
	sameAddress := []Share{{"session:b", 2}, {"address:1", 3}}
	release, err := l.Acquire(sameAddress...)
	if err != nil {
		t.Errorf("third slot of an address with a share of 3: %v", err)
	}
	if _, err := l.Acquire(sameAddress...); !errors.Is(err, ErrShare) {
		t.Errorf("fourth slot of an address with a share of 3: %v", err)
	}
	if _, err := l.Acquire(Share{"", 0}, Share{"address:2", 1}); err != nil {
		t.Errorf("another address: %v", err)
	}
	if _, err := l.Acquire(Share{"address:3", 1}); !errors.Is(err, ErrFull) {
		t.Errorf("fifth slot of four: %v", err)
	}
	release()
	release()
	if n := l.InUse(); n != 3 {
		t.Errorf("%d slots in use after one was released twice, want 3", n)
	}
	if _, err := l.Acquire(sameAddress...); err != nil {
		t.Errorf("slot that was released: %v", err)
	}
}

func TestLimiter_ForgetsKeysThatHoldNothing(t *testing.T) {
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
		t.Errorf("%d keys and %d slots left", len(l.held), l.inUse)
	}
}
