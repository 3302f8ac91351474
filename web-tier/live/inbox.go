// Package live is how a browser follows what changes: it shows the ways to do
// so side by side, on one cursor.
//
// An inbox is followed over server-sent events. Each browser's stream first
// subscribes, then reads what it missed, then goes live, passing over what it
// read: nothing is lost between the reading and the listening, and nothing
// comes twice. All streams of a process share one stream to the logic tier.
package live

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// Inbox delivers inboxes to browsers as they fill.
type Inbox struct {
	client   notificationspb.NotificationsClient
	log      *slog.Logger
	delivery *delivery
	replays  chan replay
	draining chan struct{}
	drain    sync.Once
	streams  sync.WaitGroup // as many as readers

	mu      sync.RWMutex
	readers map[uint64]*reader
	last    uint64
	out     *outbox // nil while there is no stream to the logic tier
}

// NewInbox returns an Inbox that follows client. It delivers while Run runs.
func NewInbox(client notificationspb.NotificationsClient, log *slog.Logger) *Inbox {
	return &Inbox{
		client: client, log: log,
		delivery: newDelivery(), replays: make(chan replay), draining: make(chan struct{}),
		readers: map[uint64]*reader{},
	}
}

// Run follows the logic tier until ctx ends.
func (i *Inbox) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range replayWorkers {
		workers.Go(func() { i.workReplays(ctx) })
	}
	for range deliverers * runtime.GOMAXPROCS(0) {
		workers.Go(func() { i.delivery.work(ctx) })
	}
	i.follow(ctx)
	i.Drain()
	workers.Wait()
	// A stream ends with one last write; one whose browser takes nothing is left.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		i.streams.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(drainTimeout):
	}
	return nil
}

// Drain ends every stream, now and to come, telling each browser to come back
// within a few seconds, spread by chance. It does not wait for them.
func (i *Inbox) Drain() {
	i.drain.Do(func() {
		i.mu.Lock() // nobody is added once streams are waited for
		defer i.mu.Unlock()
		close(i.draining)
	})
}

// Collector counts the open streams.
func (i *Inbox) Collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "live_streams", Help: "Browsers that follow their inbox over this process.",
	}, func() float64 {
		i.mu.RLock()
		defer i.mu.RUnlock()
		return float64(len(i.readers))
	})
}

func (i *Inbox) reader(number uint64) *reader {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.readers[number]
}

// add registers a browser and asks upstream for its inbox; without room, or at
// the end, it says when the browser should come back instead.
func (i *Inbox) add(token string) (r *reader, away time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.draining:
		return nil, between(0, drainSpread)
	default:
	}
	if len(i.readers) >= maxReaders {
		return nil, busyRetry
	}
	i.last++
	r = &reader{number: i.last, token: token, wake: make(chan struct{}, 1)}
	i.readers[r.number] = r
	i.streams.Add(1)
	if i.out != nil {
		i.out.add(subscribe(r))
	}
	return r, 0
}

func (i *Inbox) remove(r *reader) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.readers, r.number)
	i.streams.Done()
	if i.out != nil {
		i.out.add(unsubscribe(r))
	}
}
