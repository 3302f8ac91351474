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
	// maxQueued bounds the responses queued for a slow stream. Beyond it the hub
	// replaces the queued arrivals with a gap, and the client reads what it missed
	// from the database.
	maxQueued = 4096
	// maxPerAccount bounds the subscriptions to one inbox on one replica. It is more
	// than one person's browsers need.
	maxPerAccount = 100
	// maxCachedEvents bounds the events cached for the remaining chunks of their
	// fan-outs.
	maxCachedEvents = 256
)

var (
	errDraining             = apperror.New(apperror.Unavailable, "DRAINING", "this server is stopping; open the stream on another replica").RetryIn(time.Second)
	errTooManySubscriptions = apperror.New(apperror.Exhausted, "TOO_MANY_SUBSCRIPTIONS", "too many open streams for this inbox; close some tabs")
)

// hub fans new notifications out to subscribers.
type hub struct {
	mu        sync.RWMutex
	byAccount map[int64][]*subscription
	streams   map[*stream]bool

	draining   chan struct{} // closed when the server stops
	subscribed prometheus.Gauge

	// eventCache is used only by the listening goroutine.
	eventCache map[int64]event
}

// subscription subscribes one browser to one inbox.
type subscription struct {
	number  uint64
	account int64
	stream  *stream
	// Guarded by hub.mu.
	ended   bool
	release func() // stops watching the session; nil until subscribed
}

// stream is the send queue of one StreamNotifications call.
type stream struct {
	wake chan struct{}

	mu     sync.Mutex
	queued []*notificationspb.StreamNotificationsResponse
}

func newHub(registry prometheus.Registerer) *hub {
	h := &hub{
		byAccount: map[int64][]*subscription{}, streams: map[*stream]bool{},
		draining: make(chan struct{}), eventCache: map[int64]event{},
		subscribed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "notifications_subscriptions", Help: "Live inbox subscriptions on this replica.",
		}),
	}
	registry.MustRegister(h.subscribed)
	return h
}

// push queues a response and wakes the sender. The wake channel has a capacity of one:
// it signals that the queue is not empty, not how long it is.
func (s *stream) push(r *notificationspb.StreamNotificationsResponse) {
	s.mu.Lock()
	if len(s.queued) >= maxQueued {
		s.replaceArrivalsWithGap()
	}
	s.queued = append(s.queued, r)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// replaceArrivalsWithGap replaces all queued arrivals with one gap. It keeps the other
// responses, which the client cannot recover.
func (s *stream) replaceArrivalsWithGap() {
	kept := s.queued[:0]
	for _, r := range s.queued {
		if r.GetArrived() == nil && r.GetGap() == nil {
			kept = append(kept, r)
		}
	}
	s.queued = append(kept, gap)
}

// take empties the queue and returns the responses that were in it.
func (s *stream) take() []*notificationspb.StreamNotificationsResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	queued := s.queued
	s.queued = nil
	return queued
}

var gap = &notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Gap_{Gap: &notificationspb.StreamNotificationsResponse_Gap{}}}

func (h *hub) open() *stream {
	s := &stream{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams[s] = true
	return s
}

func (h *hub) close(s *stream, subscriptions map[uint64]*subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	for _, sub := range subscriptions {
		h.remove(sub)
	}
}

// subscribe registers a subscription and queues its confirmation in one step: every
// arrival after the confirmation is delivered. It calls release when the subscription
// ends, or at once if it cannot be registered.
func (h *hub) subscribe(s *subscription, account int64, release func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.ended:
		release()
		return nil
	case len(h.byAccount[account]) >= maxPerAccount:
		release()
		return errTooManySubscriptions
	}
	s.account, s.release = account, release
	h.byAccount[account] = append(h.byAccount[account], s)
	h.subscribed.Inc()
	s.stream.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Subscribed_{
		Subscribed: &notificationspb.StreamNotificationsResponse_Subscribed{Subscription: s.number},
	}})
	return nil
}

func (h *hub) unsubscribe(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(s)
}

func (h *hub) remove(s *subscription) {
	s.ended = true
	if s.release != nil {
		s.release()
		s.release = nil
	}
	list := h.byAccount[s.account]
	for i, other := range list {
		if other == s {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			if list = list[:len(list)-1]; len(list) == 0 {
				delete(h.byAccount, s.account)
			} else {
				h.byAccount[s.account] = list
			}
			h.subscribed.Dec()
			return
		}
	}
}

// hasSubscribers reports whether any of the accounts has a subscription.
func (h *hub) hasSubscribers(accounts []int64) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, account := range accounts {
		if len(h.byAccount[account]) > 0 {
			return true
		}
	}
	return false
}

// broadcast sends a notification to the subscribers of the accounts: one response per
// stream, however many of its subscriptions match.
func (h *hub) broadcast(accounts []int64, n *notificationspb.Notification) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	responses := map[*stream]*notificationspb.StreamNotificationsResponse_Arrived{}
	for _, account := range accounts {
		for _, s := range h.byAccount[account] {
			arrived := responses[s.stream]
			if arrived == nil {
				arrived = &notificationspb.StreamNotificationsResponse_Arrived{Notification: n}
				responses[s.stream] = arrived
			}
			arrived.Subscriptions = append(arrived.Subscriptions, s.number)
		}
	}
	for s, arrived := range responses {
		s.push(&notificationspb.StreamNotificationsResponse{Event: &notificationspb.StreamNotificationsResponse_Arrived_{Arrived: arrived}})
	}
}

// broadcastGap sends a gap to every stream.
func (h *hub) broadcastGap() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for s := range h.streams {
		s.push(gap)
	}
}

// listen receives announcements from all replicas and broadcasts them until ctx is done.
func (m *Module) listen(ctx context.Context) error {
	defer close(m.hub.draining)
	return postgres.Listen(ctx, m.deps.Listen, announceChannel, m.deps.Log, func(payload string, lost bool) {
		if lost {
			// The listener can have reconnected to another database, with another epoch.
			m.currentEpoch.Store(nil)
			clear(m.hub.eventCache)
			m.hub.broadcastGap()
			return
		}
		if err := m.onNotify(ctx, payload); err != nil && ctx.Err() == nil {
			m.deps.Log.Warn("notifications: failed to broadcast an arrival; clients will read it from the database", "error", err)
			m.hub.broadcastGap()
		}
	})
}

// eventTimeout bounds the lookup of an event: later announcements wait for it.
const eventTimeout = 2 * time.Second

// onNotify broadcasts the arrival that a NOTIFY announces.
func (m *Module) onNotify(ctx context.Context, payload string) error {
	a, err := decodeAnnouncement(payload)
	if err != nil || !m.hub.hasSubscribers(a.accounts) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	epoch, err := m.epoch(ctx)
	if err != nil {
		return err
	}
	e, found := m.hub.eventCache[a.event]
	if !found {
		if e, found, err = m.store.event(ctx, a.event); err != nil || !found {
			return err
		}
		if len(m.hub.eventCache) >= maxCachedEvents {
			clear(m.hub.eventCache)
		}
		m.hub.eventCache[a.event] = e
	}
	m.hub.broadcast(a.accounts, item{event: e, arrival: a.arrival}.message(epoch))
	return nil
}
