package notifications

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

const (
	// maxQueued bounds what waits for a stream's reader. Over it the arrivals
	// are dropped and the reader is told of a gap: it reads from the database
	// what it missed, which costs less than memory without end.
	maxQueued = 4096
	// maxPerAccount bounds the subscriptions to one inbox on one replica: more
	// browsers than a person has.
	maxPerAccount = 100
	// eventsKept is how many events' texts are kept for their other chunks.
	eventsKept = 256
)

var (
	errDraining      = apperror.New(apperror.Unavailable, "DRAINING", "this server is stopping; open the stream again, at another").RetryIn(time.Second)
	errSubscriptions = apperror.New(apperror.Exhausted, "TOO_MANY_SUBSCRIPTIONS", "this inbox is followed by as many browsers as it may be; close some")
)

// live is who is connected, and passes on to them what arrives.
type live struct {
	mu        sync.RWMutex
	byAccount map[int64][]*subscription
	streams   map[*stream]bool

	draining  chan struct{}
	connected prometheus.Gauge

	// events is used by the listening goroutine alone.
	events map[int64]event
}

// subscription is one browser's interest in one inbox.
type subscription struct {
	number  uint64
	account int64
	stream  *stream
	// Guarded by live.mu.
	ended   bool
	release func() // ends the watch over its session; nil until it is live
}

// stream is what is on its way to one reader.
type stream struct {
	wake chan struct{}

	mu     sync.Mutex
	queued []*notificationspb.StreamNotificationsResponse
}

func newLive(registry prometheus.Registerer) *live {
	l := &live{
		byAccount: map[int64][]*subscription{}, streams: map[*stream]bool{},
		draining: make(chan struct{}), events: map[int64]event{},
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "notifications_subscriptions", Help: "Inboxes followed live on this replica.",
		}),
	}
	registry.MustRegister(l.connected)
	return l
}

// push adds a response; the reader is woken. The capacity of the wake-up is
// one: it says "look", not how much there is.
func (s *stream) push(r *notificationspb.StreamNotificationsResponse) {
	s.mu.Lock()
	if len(s.queued) >= maxQueued {
		s.dropArrivals()
	}
	s.queued = append(s.queued, r)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dropArrivals puts one gap in the place of all arrivals. The other responses
// stay: nothing would say them again.
func (s *stream) dropArrivals() {
	kept := s.queued[:0]
	for _, r := range s.queued {
		if r.GetArrived() == nil && r.GetGap() == nil {
			kept = append(kept, r)
		}
	}
	s.queued = append(kept, gap)
}

func (s *stream) take() []*notificationspb.StreamNotificationsResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.queued
	s.queued = nil
	return all
}

var gap = &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Gap_{Gap: &notificationspb.StreamNotificationsResponse_Gap{}}}

func (l *live) open() *stream {
	s := &stream{wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[s] = true
	return s
}

func (l *live) close(s *stream, subscriptions map[uint64]*subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, s)
	for _, one := range subscriptions {
		l.remove(one)
	}
}

// subscribe makes a subscription live and says so, in one step: an arrival that
// the reader gets after that is one it would otherwise miss. It calls release when
// the subscription ends.
func (l *live) subscribe(s *subscription, account int64, release func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.ended:
		release()
		return nil
	case len(l.byAccount[account]) >= maxPerAccount:
		release()
		return errSubscriptions
	}
	s.account, s.release = account, release
	l.byAccount[account] = append(l.byAccount[account], s)
	l.connected.Inc()
	s.stream.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: s.number},
	}})
	return nil
}

func (l *live) unsubscribe(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(s)
}

func (l *live) remove(s *subscription) {
	s.ended = true
	if s.release != nil {
		s.release()
		s.release = nil
	}
	list := l.byAccount[s.account]
	for i, other := range list {
		if other == s {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			if list = list[:len(list)-1]; len(list) == 0 {
				delete(l.byAccount, s.account)
			} else {
				l.byAccount[s.account] = list
			}
			l.connected.Dec()
			return
		}
	}
}

// anyOf says whether anybody of the accounts is connected.
func (l *live) anyOf(accounts []int64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, account := range accounts {
		if len(l.byAccount[account]) > 0 {
			return true
		}
	}
	return false
}

// arrive passes a notification on to those of the accounts that are connected:
// one response a stream, whatever the number of its subscriptions.
func (l *live) arrive(accounts []int64, n *notificationspb.Notification) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	reached := map[*stream]*notificationspb.StreamNotificationsResponse_Arrived{}
	for _, account := range accounts {
		for _, s := range l.byAccount[account] {
			arrived := reached[s.stream]
			if arrived == nil {
				arrived = &notificationspb.StreamNotificationsResponse_Arrived{Notification: n}
				reached[s.stream] = arrived
			}
			arrived.Subscriptions = append(arrived.Subscriptions, s.number)
		}
	}
	for s, arrived := range reached {
		s.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{Arrived: arrived}})
	}
}

// missed tells every stream of a gap.
func (l *live) missed() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for s := range l.streams {
		s.push(gap)
	}
}

// deliverLive hears what arrives, on whichever replica it was delivered, and
// passes it on until ctx ends.
func (m *Module) deliverLive(ctx context.Context) error {
	defer close(m.live.draining)
	return postgres.Listen(ctx, m.needs.Listen, announceChannel, m.needs.Log, func(payload string, lost bool) {
		if lost {
			// It may be another database by now, which counts in another epoch.
			m.currentEpoch.Store(nil)
			clear(m.live.events)
			m.live.missed()
			return
		}
		if err := m.hear(ctx, payload); err != nil && ctx.Err() == nil {
			m.needs.Log.Warn("notifications: an arrival was not passed on; readers look for themselves", "error", err)
			m.live.missed()
		}
	})
}

// hearTimeout bounds the look-up of an event while everybody waits behind it.
const hearTimeout = 2 * time.Second

func (m *Module) hear(ctx context.Context, payload string) error {
	a, err := decodeAnnouncement(payload)
	if err != nil || !m.live.anyOf(a.accounts) {
		return err
	}
	ctx, done := context.WithTimeout(ctx, hearTimeout)
	defer done()
	epoch, err := m.epoch(ctx)
	if err != nil {
		return err
	}
	e, known := m.live.events[a.event]
	if !known {
		if e, known, err = m.store.event(ctx, a.event); err != nil || !known {
			return err
		}
		if len(m.live.events) >= eventsKept {
			clear(m.live.events)
		}
		m.live.events[a.event] = e
	}
	m.live.arrive(a.accounts, item{event: e, arrival: a.arrival}.message(epoch))
	return nil
}
