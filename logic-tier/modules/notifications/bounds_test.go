package notifications

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// A reader that takes nothing is told of a gap in the place of what arrived;
// what nothing would say again is kept.
func TestAFullStreamIsAGap(t *testing.T) {
	t.Parallel()
	s := newLive(prometheus.NewRegistry()).open()
	subscribed := &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: 7}}}
	arrived := &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{
		Arrived: &notificationspb.StreamNotificationsResponse_Arrived{}}}
	s.push(subscribed)
	for range 3*maxQueued + 5 {
		s.push(arrived)
		if len(s.queued) > maxQueued {
			t.Fatalf("%d are queued", len(s.queued))
		}
	}
	kinds := map[string]int{}
	all := s.take()
	for _, r := range all {
		switch {
		case r.GetSubscribed() != nil:
			kinds["subscribed"]++
		case r.GetGap() != nil:
			kinds["gap"]++
		case r.GetArrived() != nil:
			kinds["arrived"]++
		}
	}
	if kinds["subscribed"] != 1 || kinds["gap"] != 1 || kinds["arrived"] == 0 || all[1].GetGap() == nil {
		t.Errorf("the reader finds %v, the second %v", kinds, all[1])
	}
}

func TestOneInboxIsNotFollowedWithoutEnd(t *testing.T) {
	t.Parallel()
	l := newLive(prometheus.NewRegistry())
	s := l.open()
	all := map[uint64]*subscription{}
	for n := range uint64(maxPerAccount) {
		all[n] = &subscription{number: n, stream: s}
		if err := l.subscribe(all[n], 1, func() {}); err != nil {
			t.Fatalf("subscription %d: %v", n, err)
		}
	}
	if err := l.subscribe(&subscription{number: maxPerAccount, stream: s}, 1, func() {}); !errors.Is(err, errSubscriptions) {
		t.Errorf("one more: %v", err)
	}
	if err := l.subscribe(&subscription{number: maxPerAccount + 1, stream: s}, 2, func() {}); err != nil {
		t.Errorf("another inbox: %v", err)
	}
	l.close(s, all)
	if err := l.subscribe(&subscription{number: maxPerAccount + 2, stream: l.open()}, 1, func() {}); err != nil {
		t.Errorf("after they left: %v", err)
	}
}
