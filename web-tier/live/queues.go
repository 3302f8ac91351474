package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/metadata"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/proto/transport"
)

// NewQueues returns a Feed of the message queue as operators see it; the key is
// always empty. About every second it is an event "snapshot" with all of it, so
// that whoever has the latest has everything. It is for streams: a poll would
// always find news.
func NewQueues(client queuepb.QueuesClient, log *slog.Logger) *Feed {
	return newFeed(&queues{client: client}, log.With("feed", "queues"))
}

// queues is the source of snapshots.
type queues struct {
	client queuepb.QueuesClient
	count  atomic.Int64 // of snapshots: they are ordered as they came here
}

// queuesEpoch is the same in every process: a browser that comes with another's
// cursor gets a whole snapshot like any other.
const queuesEpoch = "queues"

func (*queues) takes(key string) bool { return key == "" }

func (*queues) traits() traits {
	return traits{whole: true, guarded: true, most: maxWatchers, signIn: "Sign in as an operator to see the queue."}
}

func (q *queues) read(ctx context.Context, _, _ string) (page, error) {
	answer, err := q.client.GetQueues(ctx, &queuepb.GetQueuesRequest{})
	if err != nil {
		return page{}, err
	}
	f, err := q.frame(answer.GetSnapshot())
	if err != nil {
		return page{}, err
	}
	return page{frames: []*frame{f}, cursor: f.cursor, stand: f}, nil
}

func (q *queues) frame(snapshot *queuepb.Snapshot) (*frame, error) {
	return newFrame("snapshot", cursor{queuesEpoch, q.count.Add(1)}.String(), snapshot)
}

func (*queues) body(p page) ([]byte, error) {
	if p.stand == nil {
		return nil, errors.New("a page of queues without a snapshot")
	}
	return json.RawMessage(p.stand.json), nil
}

func (q *queues) open(ctx context.Context) (upstream, error) {
	w := &queueWatch{
		ctx: ctx, source: q, watchers: map[uint64]string{},
		said: make(chan happened), failed: make(chan error, 1), came: make(chan struct{}, 1),
	}
	go w.run()
	return w, nil
}

// queueWatch lets all who watch share one WatchQueues. It is opened with the
// session of one of them, once there is one, and closed when nobody watches: the
// logic tier does not count for nobody. Whether each of the others may watch, too,
// the logic tier is asked by the read that comes before the first event
// (traits.guarded). It ends with ctx.
type queueWatch struct {
	ctx    context.Context
	source *queues
	said   chan happened
	failed chan error    // capacity 1: why there is no more
	came   chan struct{} // capacity 1: somebody watches

	mu       sync.Mutex
	watchers map[uint64]string  // sessions, by subscription
	close    context.CancelFunc // of the WatchQueues under way; nil when there is none
}

// send takes who watches, and who does not any more.
func (w *queueWatch) send(c change) error {
	w.mu.Lock()
	if c.end {
		delete(w.watchers, c.number)
		if len(w.watchers) == 0 && w.close != nil {
			w.close()
		}
		w.mu.Unlock()
		return nil
	}
	w.watchers[c.number] = c.token
	w.mu.Unlock()
	select {
	case w.came <- struct{}{}:
	default:
	}
	return w.say(happened{subscribed: c.number})
}

func (w *queueWatch) receive() (happened, error) {
	select {
	case h := <-w.said:
		return h, nil
	case err := <-w.failed:
		return happened{}, err
	case <-w.ctx.Done():
		return happened{}, w.ctx.Err()
	}
}

func (w *queueWatch) say(h happened) error {
	select {
	case w.said <- h:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *queueWatch) run() {
	for {
		number, session, ok := w.anybody()
		if !ok {
			select {
			case <-w.came:
				continue
			case <-w.ctx.Done():
				return
			}
		}
		err := w.watch(session)
		switch {
		case err == nil:
		case final(err):
			// It is the session that it was opened with: the next one's may do.
			w.dismiss(number)
			_ = w.say(happened{ended: number, reason: denial(err)})
		default:
			w.failed <- err // the feed opens another upstream, and so ends ctx
			return
		}
		if w.ctx.Err() != nil {
			return
		}
	}
}

// watch passes snapshots on while somebody watches.
func (w *queueWatch) watch(session string) error {
	ctx, closeIt := context.WithCancel(metadata.AppendToOutgoingContext(w.ctx, transport.SessionKey, session))
	defer closeIt()
	w.mu.Lock()
	if len(w.watchers) == 0 {
		w.mu.Unlock()
		return nil
	}
	w.close = closeIt
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.close = nil
		w.mu.Unlock()
	}()
	stream, err := w.source.client.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	for err == nil {
		var answer *queuepb.WatchQueuesResponse
		if answer, err = stream.Recv(); err == nil {
			f, bad := w.source.frame(answer.GetSnapshot())
			err = w.say(happened{news: f, bad: bad, subscriptions: w.everybody()})
		}
	}
	if ctx.Err() != nil {
		return nil // nobody watches, or all ends
	}
	return fmt.Errorf("watching the queues: %w", err)
}

// anybody returns one who watches: the one that began first.
func (w *queueWatch) anybody() (number uint64, session string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, s := range w.watchers {
		if !ok || n < number {
			number, session, ok = n, s, true
		}
	}
	return number, session, ok
}

func (w *queueWatch) everybody() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]uint64, 0, len(w.watchers))
	for number := range w.watchers {
		all = append(all, number)
	}
	return all
}

func (w *queueWatch) dismiss(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watchers, number)
}
