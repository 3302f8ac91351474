// Package live is how a browser follows what changes: it shows the ways to do
// so side by side, on one cursor.
//
//	short poll          GET /inbox/since?after=<cursor>             Feed.Since
//	long poll           GET /inbox/wait?after=<cursor>&timeout=25s  Feed.Wait
//	server-sent events  GET /inbox/stream, Last-Event-ID: <cursor>  Feed.Stream
//
// The same three follow an operation, at /operations/{operation} (short poll:
// JSON by Accept), /operations/{operation}/wait and /operations/{operation}/stream.
// Whichever way is taken, nothing is lost, nothing comes twice, and all comes in
// order; a browser may change from one to another with the cursor it has.
//
// A short poll reads what came after the cursor, and is told when to ask again;
// most find nothing. A long poll and a stream first subscribe, then read what they
// missed, then go live, passing over what they read: nothing is lost between the
// reading and the listening. The one ends with its first news, the other goes on.
// All of a process that wait share one stream to the logic tier: while nothing
// changes, who waits costs no call.
//
// Operators follow the message queue at /queue/stream, which is a snapshot every
// second: the latest is all there is to know, so there is nothing to poll for.
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

// Feed tells browsers of what they follow as it changes.
type Feed struct {
	source   source
	log      *slog.Logger
	delivery *delivery
	replays  chan replay
	slots    *logicclient.Slots // of readers
	polls    *logicclient.Slots // of short polls under way
	draining chan struct{}
	drain    sync.Once
	open     sync.WaitGroup // as many as readers

	mu      sync.RWMutex
	readers map[uint64]*reader
	waiters int // of readers
	last    uint64
	out     *outbox // nil while there is no stream to the logic tier
}

// newFeed returns a Feed of source. It delivers while Run runs.
func newFeed(source source, log *slog.Logger) *Feed {
	most := cmp.Or(source.traits().most, maxReaders)
	return &Feed{
		source: source, log: log,
		delivery: newDelivery(), replays: make(chan replay),
		slots:    logicclient.NewSlots(logicclient.SlotBounds{Total: most, PerSession: readersPerSession, PerAddress: most / addressShare}),
		polls:    logicclient.NewSlots(logicclient.SlotBounds{Total: maxPolls, PerSession: pollsPerSession, PerAddress: maxPolls / addressShare}),
		draining: make(chan struct{}), readers: map[uint64]*reader{},
	}
}

// Run follows the logic tier until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range replayWorkers {
		workers.Go(func() { f.workReplays(ctx) })
	}
	for range deliverers * runtime.GOMAXPROCS(0) {
		workers.Go(func() { f.delivery.work(ctx) })
	}
	f.follow(ctx)
	f.Drain()
	workers.Wait()
	// A stream ends with one last write; one whose browser takes nothing is left.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.open.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(drainTimeout):
	}
	return nil
}

// Drain ends every stream and every wait, now and to come, telling each browser
// to come back within a few seconds, spread by chance. It does not wait for them.
func (f *Feed) Drain() {
	f.drain.Do(func() {
		f.mu.Lock() // nobody is added once they are waited for
		defer f.mu.Unlock()
		close(f.draining)
	})
}

func (f *Feed) reader(number uint64) *reader {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.readers[number]
}

var (
	// errDraining: this process ends.
	errDraining = errors.New("draining")
	// errFull: as many follow as there is room for.
	errFull = errors.New("no room")
	// errShare: as many follow from this session or address as may.
	errShare = errors.New("no room within the share")
)

// roomFor turns an error of Slots into the feed's own.
func roomFor(err error) error {
	if errors.Is(err, fairshare.ErrShare) {
		return errShare
	}
	return errFull
}

// add registers who follows key and asks upstream for it. Its errors are
// errDraining, errFull and errShare.
func (f *Feed) add(r *reader) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.draining:
		return errDraining
	default:
	}
	release, err := f.slots.Acquire(logicclient.Caller{Session: r.token, Address: r.address})
	if err != nil {
		return roomFor(err)
	}
	r.release = release
	f.last++
	r.number = f.last
	f.readers[r.number] = r
	if r.waits {
		f.waiters++
	}
	f.open.Add(1)
	if f.out != nil {
		f.out.add(subscribe(r))
	}
	return nil
}

func (f *Feed) remove(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r.number)
	r.release()
	if r.waits {
		f.waiters--
	}
	f.open.Done()
	if f.out != nil {
		f.out.add(unsubscribe(r))
	}
}
