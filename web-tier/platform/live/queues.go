package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	return &queueWatch{
		ctx: ctx, source: q, sessions: map[string]*sessionWatch{}, session: map[uint64]string{},
		said: make(chan happened), failed: make(chan error, 1),
	}, nil
}

// queueWatch follows the queue with one WatchQueues for each session, shared by all
// who watch with that session: the logic tier ends it when the session ends, and the
// others go on. Operators are few. It is closed when the last of them leaves: the
// logic tier does not count for nobody. It ends with ctx.
type queueWatch struct {
	ctx    context.Context
	source *queues
	said   chan happened
	failed chan error // capacity 1: why there is no more

	mu       sync.Mutex
	sessions map[string]*sessionWatch
	session  map[uint64]string // of each subscription
}

// sessionWatch is the WatchQueues of one session.
type sessionWatch struct {
	watchers map[uint64]bool // subscriptions
	close    context.CancelFunc
}

// send takes who watches, and who does not any more.
func (w *queueWatch) send(c change) error {
	if c.end {
		w.leave(c.number)
		return nil
	}
	if err := w.say(happened{subscribed: c.number}); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session[c.number] = c.token
	if open := w.sessions[c.token]; open != nil {
		open.watchers[c.number] = true
		return nil
	}
	ctx, closeIt := context.WithCancel(metadata.AppendToOutgoingContext(w.ctx, transport.SessionKey, c.token))
	opened := &sessionWatch{watchers: map[uint64]bool{c.number: true}, close: closeIt}
	w.sessions[c.token] = opened
	go w.watch(ctx, c.token, opened)
	return nil
}

// leave forgets a subscription, and closes the WatchQueues that it was the last of.
func (w *queueWatch) leave(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	token := w.session[number]
	delete(w.session, number)
	open := w.sessions[token]
	if open == nil {
		return
	}
	delete(open.watchers, number)
	if len(open.watchers) == 0 {
		open.close()
		delete(w.sessions, token)
	}
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

// watch passes snapshots on to who watches with a session.
func (w *queueWatch) watch(ctx context.Context, token string, of *sessionWatch) {
	defer of.close()
	stream, err := w.source.client.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	for err == nil {
		var answer *queuepb.WatchQueuesResponse
		if answer, err = stream.Recv(); err == nil {
			f, bad := w.source.frame(answer.GetSnapshot())
			err = w.say(happened{news: f, bad: bad, subscriptions: w.watching(of)})
		}
	}
	switch {
	case ctx.Err() != nil: // nobody watches, or all ends
	case final(err): // it is the session: the others go on
		for _, number := range w.dismiss(token, of) {
			_ = w.say(happened{ended: number, reason: denial(err)})
		}
	default:
		select {
		case w.failed <- fmt.Errorf("watching the queues: %w", err): // the feed opens another upstream, and so ends ctx
		default: // it does so already
		}
	}
}

func (w *queueWatch) watching(of *sessionWatch) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(of.watchers))
}

// dismiss forgets a session, and returns who watched with it.
func (w *queueWatch) dismiss(token string, of *sessionWatch) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions[token] == of {
		delete(w.sessions, token)
	}
	return slices.Collect(maps.Keys(of.watchers))
}
