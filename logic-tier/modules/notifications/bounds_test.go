package notifications

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// A full queue replaces arrivals with a gap. It keeps the responses that the client
// cannot recover.
func TestStreamReplacesArrivalsWithGapWhenQueueIsFull(t *testing.T) {
	t.Parallel()
	s := newHub(prometheus.NewRegistry()).open()
	subscribed := &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: 7}}}
	arrived := &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{
		Arrived: &notificationspb.StreamNotificationsResponse_Arrived{}}}
	s.push(subscribed)
	for range 3*maxQueued + 5 {
		s.push(arrived)
		if len(s.queued) > maxQueued {
			t.Fatalf("got %d queued responses, want at most %d", len(s.queued), maxQueued)
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
		t.Errorf("got %v, the second %v; want 1 subscribed, then 1 gap, then arrivals", kinds, all[1])
	}
}

func TestHubLimitsSubscriptionsPerInbox(t *testing.T) {
	t.Parallel()
	h := newHub(prometheus.NewRegistry())
	s := h.open()
	all := map[uint64]*subscription{}
	for n := range uint64(maxPerAccount) {
		all[n] = &subscription{number: n, stream: s}
		if err := h.subscribe(all[n], 1, func() {}); err != nil {
			t.Fatalf("subscription %d: %v", n, err)
		}
	}
	if err := h.subscribe(&subscription{number: maxPerAccount, stream: s}, 1, func() {}); !errors.Is(err, errTooManySubscriptions) {
		t.Errorf("over the limit: got %v, want %v", err, errTooManySubscriptions)
	}
	if err := h.subscribe(&subscription{number: maxPerAccount + 1, stream: s}, 2, func() {}); err != nil {
		t.Errorf("another inbox: %v", err)
	}
	h.close(s, all)
	if err := h.subscribe(&subscription{number: maxPerAccount + 2, stream: h.open()}, 1, func() {}); err != nil {
		t.Errorf("after the stream closed: %v", err)
	}
}
