package server

import (
	"errors"
	"fmt"
	"testing"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
)

// reasonOf returns the reason code of err, or "".
func reasonOf(err error) string {
	var failure *apperror.Failure
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return ""
}

func TestStreams_LimitEachAddressAndAccount(t *testing.T) {
	t.Parallel()
	s := newStreams()
	// fill acquires slots until the first rejection.
	fill := func(acquire func(n int) error) (acquired int, reason string) {
		for ; acquired <= maxStreams; acquired++ {
			if err := acquire(acquired); err != nil {
				return acquired, reasonOf(err)
			}
		}
		return acquired, ""
	}
	greedy := &caller.Person{ID: 1}
	if n, reason := fill(func(int) error { _, err := s.acquireForAccount(greedy); return err }); n != streamsPerAccount || reason != "TOO_MANY_STREAMS" {
		t.Errorf("one account: got %d streams, then %q; want %d", n, reason, streamsPerAccount)
	}
	if _, err := s.acquireForAccount(&caller.Person{ID: 2}); err != nil {
		t.Errorf("another account: %v", err)
	}
	if n, reason := fill(func(int) error { _, err := s.acquire(false, "192.0.2.66"); return err }); n != streamsPerAddress || reason != "TOO_MANY_STREAMS" {
		t.Errorf("one address: got %d streams, then %q; want %d", n, reason, streamsPerAddress)
	}
	if n, reason := fill(func(n int) error { _, err := s.acquire(true, fmt.Sprint("address ", n)); return err }); n != maxStreams-streamsPerAddress || reason != "SERVER_BUSY" {
		t.Errorf("other addresses: got %d streams, then %q; want %d", n, reason, maxStreams-streamsPerAddress)
	}
	// Streams that web tiers open for all their browsers are not affected.
	if _, err := s.acquire(false, ""); err != nil {
		t.Errorf("a web tier's own stream: %v", err)
	}
}
