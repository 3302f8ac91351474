// Package live lets browsers follow what changes. It offers three transports side by
// side, on one cursor:
//
//	short poll          GET /inbox/since?after=<cursor>             Feed.Since
//	long poll           GET /inbox/wait?after=<cursor>&timeout=25s  Feed.Wait
//	server-sent events  GET /inbox/stream, Last-Event-ID: <cursor>  Feed.Stream
//
// The same three follow an operation, at /operations/{operation} (short poll: JSON by
// Accept), /operations/{operation}/wait and /operations/{operation}/stream. Each
// transport delivers every event exactly once and in order, and a browser can switch
// between them with the cursor it has.
//
// A short poll reads what came after the cursor and returns when to poll again; most
// short polls find nothing. Long polls and streams subscribe first, then replay what
// the client missed, then deliver live events and skip those already replayed, so that
// nothing is lost between the read and the subscription. A long poll returns with the
// first news; a stream continues. All subscribers of a process share one stream to the
// logic tier: while nothing changes, waiting costs no calls.
//
// Operators follow the message queue at /queue/stream. It sends a snapshot every
// second, and only the latest matters, so that polling it would serve no purpose.
package live

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"techtalks.example/proto/transport/fairshare"
	"techtalks.example/web-tier/platform/logicclient"
)

// Feed delivers changes of one kind of resource to browsers.
type Feed struct {
	source    source
	log       *slog.Logger
	delivery  *delivery
	replays   chan replayRequest
	slots     *logicclient.Slots // of subscribers
	pollSlots *logicclient.Slots // of short polls in flight
	draining  chan struct{}
	drainOnce sync.Once
	active    sync.WaitGroup // counts subscribers

	mu          sync.RWMutex
	subscribers map[uint64]*subscriber
	longPolls   int // among subscribers
	lastID      uint64
	sendQueue   *sendQueue // nil while there is no stream to the logic tier
}

// newFeed returns a Feed of source. It delivers while Run runs.
func newFeed(source source, log *slog.Logger) *Feed {
	limit := cmp.Or(source.traits().maxSubscribers, maxSubscribers)
	return &Feed{
		source: source, log: log,
		delivery: newDelivery(), replays: make(chan replayRequest),
		slots:     logicclient.NewSlots(logicclient.SlotBounds{Total: limit, PerSession: subscribersPerSession, PerAddress: limit / addressFraction}),
		pollSlots: logicclient.NewSlots(logicclient.SlotBounds{Total: maxPolls, PerSession: pollsPerSession, PerAddress: maxPolls / addressFraction}),
		draining:  make(chan struct{}), subscribers: map[uint64]*subscriber{},
	}
}

// Run delivers events from the logic tier until ctx is done, then drains the feed.
func (f *Feed) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range replayWorkers {
		workers.Go(func() { f.runReplayWorker(ctx) })
	}
	for range deliveryWorkersPerCPU * runtime.GOMAXPROCS(0) {
		workers.Go(func() { f.delivery.runWorker(ctx) })
	}
	f.follow(ctx)
	f.Drain()
	workers.Wait()
	// Each stream closes with one last write. A browser that does not read it in
	// time is abandoned.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		f.active.Wait()
	}()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
	}
	return nil
}

// Drain ends every present and future stream and long poll, and asks each client to
// return after a random delay of a few seconds. It does not wait for them to finish.
func (f *Feed) Drain() {
	f.drainOnce.Do(func() {
		f.mu.Lock() // no subscriber is added once Run waits for them
		defer f.mu.Unlock()
		close(f.draining)
	})
}

func (f *Feed) subscriber(id uint64) *subscriber {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.subscribers[id]
}

var (
	// errDraining: this process is shutting down.
	errDraining = errors.New("draining")
	// errFull: the feed is at its subscriber limit.
	errFull = errors.New("the feed has no free slot")
	// errShare: the session or the address is at its limit.
	errShare = errors.New("the session's or address's share of the feed is in use")
)

// slotError translates an error of logicclient.Slots to errShare or errFull.
func slotError(err error) error {
	if errors.Is(err, fairshare.ErrShare) {
		return errShare
	}
	return errFull
}

// add registers a subscriber and subscribes it upstream. It fails with errDraining,
// errFull or errShare.
func (f *Feed) add(sub *subscriber) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.draining:
		return errDraining
	default:
	}
	release, err := f.slots.Acquire(logicclient.Caller{Session: sub.token, Address: sub.address})
	if err != nil {
		return slotError(err)
	}
	sub.release = release
	f.lastID++
	sub.id = f.lastID
	f.subscribers[sub.id] = sub
	if sub.longPoll {
		f.longPolls++
	}
	f.active.Add(1)
	if f.sendQueue != nil {
		f.sendQueue.add(subscribe(sub))
	}
	return nil
}

func (f *Feed) remove(sub *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subscribers, sub.id)
	sub.release()
	if sub.longPoll {
		f.longPolls--
	}
	f.active.Done()
	if f.sendQueue != nil {
		f.sendQueue.add(unsubscribe(sub))
	}
}
