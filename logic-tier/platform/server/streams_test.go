package server

import (
	"errors"
	"fmt"
	"testing"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
)

// reasonOf returns why a stream is refused; empty when it is not.
func reasonOf(err error) string {
	var refused *apperror.Failure
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func TestStreamsAreSharedBetweenAddressesAndAccounts(t *testing.T) {
	t.Parallel()
	s := newStreams()
	until := func(enter func(n int) error) (entered int, reason string) {
		for ; entered <= maxStreams; entered++ {
			if err := enter(entered); err != nil {
				return entered, reasonOf(err)
			}
		}
		return entered, ""
	}
	greedy := &caller.Person{ID: 1}
	if n, reason := until(func(int) error { _, err := s.enterAs(greedy); return err }); n != streamsPerAccount || reason != "TOO_MANY_STREAMS" {
		t.Errorf("an account has %d streams, then %q", n, reason)
	}
	if _, err := s.enterAs(&caller.Person{ID: 2}); err != nil {
		t.Errorf("another account: %v", err)
	}
	if n, reason := until(func(int) error { _, err := s.enter(false, "192.0.2.66"); return err }); n != streamsPerAddress || reason != "TOO_MANY_STREAMS" {
		t.Errorf("an address has %d streams, then %q", n, reason)
	}
	if n, reason := until(func(n int) error { _, err := s.enter(true, fmt.Sprint("address ", n)); return err }); n != maxStreams-streamsPerAddress || reason != "SERVER_BUSY" {
		t.Errorf("other addresses have %d streams, then %q", n, reason)
	}
	// What web tiers follow on behalf of all their browsers goes on.
	if _, err := s.enter(false, ""); err != nil {
		t.Errorf("a stream of a web tier itself: %v", err)
	}
}
