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

// NewQueues returns a Feed of the message queue for operators; the key is always empty.
// About once a second it sends an event "snapshot" with the whole state, which supersedes
// the ones before it. It serves streams only: a poll would always find news.
func NewQueues(client queuepb.QueuesClient, log *slog.Logger) *Feed {
	return newFeed(&queueSource{client: client}, log.With("feed", "queues"))
}

// queueSource is the source of queue snapshots.
type queueSource struct {
	client   queuepb.QueuesClient
	sequence atomic.Int64 // numbers snapshots in the order of their arrival
}

// queueEpoch is the same in every process. A browser that reconnects to another process
// receives a whole snapshot in any case.
const queueEpoch = "queues"

func (*queueSource) validKey(key string) bool { return key == "" }

func (*queueSource) traits() traits {
	return traits{
		coalesce: true, authorizedByRead: true, maxSubscribers: maxQueueSubscribers,
		signInMessage: "Sign in as an operator to see the queue.",
	}
}

func (s *queueSource) read(ctx context.Context, _, _ string) (page, error) {
	response, err := s.client.GetQueues(ctx, &queuepb.GetQueuesRequest{})
	if err != nil {
		return page{}, err
	}
	f, err := s.frame(response.GetSnapshot())
	if err != nil {
		return page{}, err
	}
	return page{frames: []*frame{f}, cursor: f.cursor, snapshot: f}, nil
}

func (s *queueSource) frame(snapshot *queuepb.Snapshot) (*frame, error) {
	return newFrame("snapshot", cursor{queueEpoch, s.sequence.Add(1)}.String(), snapshot)
}

func (*queueSource) pollBody(p page) ([]byte, error) {
	if p.snapshot == nil {
		return nil, errors.New("a page of queues has no snapshot")
	}
	return json.RawMessage(p.snapshot.json), nil
}

func (s *queueSource) open(ctx context.Context) (upstream, error) {
	return &queueUpstream{
		ctx: ctx, source: s, watches: map[string]*queueWatch{}, tokens: map[uint64]string{},
		events: make(chan upstreamEvent), failure: make(chan error, 1),
	}, nil
}

// queueUpstream opens one WatchQueues call per session, shared by the session's
// subscriptions. The logic tier ends the call when the session expires, which leaves
// the other sessions undisturbed; operators are few. The last unsubscribe cancels the
// call, so that the logic tier takes no snapshots without subscribers. All calls end
// with ctx.
type queueUpstream struct {
	ctx     context.Context
	source  *queueSource
	events  chan upstreamEvent
	failure chan error // capacity 1

	mu      sync.Mutex
	watches map[string]*queueWatch // by session token
	tokens  map[uint64]string      // by subscription
}

// queueWatch is the WatchQueues call of one session.
type queueWatch struct {
	subscriptions map[uint64]bool
	cancel        context.CancelFunc
}

// send subscribes or unsubscribes.
func (u *queueUpstream) send(c subscriptionChange) error {
	if c.unsubscribe {
		u.unsubscribe(c.id)
		return nil
	}
	if err := u.emit(upstreamEvent{subscribed: c.id}); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tokens[c.id] = c.token
	if watch := u.watches[c.token]; watch != nil {
		watch.subscriptions[c.id] = true
		return nil
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(u.ctx, transport.SessionKey, c.token))
	watch := &queueWatch{subscriptions: map[uint64]bool{c.id: true}, cancel: cancel}
	u.watches[c.token] = watch
	go u.run(ctx, c.token, watch)
	return nil
}

// unsubscribe removes a subscription, and cancels its session's call if it was the
// last one.
func (u *queueUpstream) unsubscribe(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	token := u.tokens[id]
	delete(u.tokens, id)
	watch := u.watches[token]
	if watch == nil {
		return
	}
	delete(watch.subscriptions, id)
	if len(watch.subscriptions) == 0 {
		watch.cancel()
		delete(u.watches, token)
	}
}

func (u *queueUpstream) receive() (upstreamEvent, error) {
	select {
	case e := <-u.events:
		return e, nil
	case err := <-u.failure:
		return upstreamEvent{}, err
	case <-u.ctx.Done():
		return upstreamEvent{}, u.ctx.Err()
	}
}

func (u *queueUpstream) emit(e upstreamEvent) error {
	select {
	case u.events <- e:
		return nil
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
}

// run forwards the snapshots of a session's WatchQueues call to its subscriptions.
func (u *queueUpstream) run(ctx context.Context, token string, watch *queueWatch) {
	defer watch.cancel()
	stream, err := u.source.client.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	for err == nil {
		var response *queuepb.WatchQueuesResponse
		if response, err = stream.Recv(); err == nil {
			f, invalid := u.source.frame(response.GetSnapshot())
			err = u.emit(upstreamEvent{frame: f, invalid: invalid, recipients: u.subscriptions(watch)})
		}
	}
	switch {
	case ctx.Err() != nil: // the last subscription or the upstream ended
	case isPermanent(err): // the session was rejected; the others continue
		for _, id := range u.removeWatch(token, watch) {
			_ = u.emit(upstreamEvent{ended: id, endReason: rejectionReason(err)})
		}
	default:
		select {
		case u.failure <- fmt.Errorf("watching the queues: %w", err): // the feed cancels ctx and opens another upstream
		default: // another call has failed first
		}
	}
}

func (u *queueUpstream) subscriptions(watch *queueWatch) []uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(watch.subscriptions))
}

// removeWatch removes a session's call and returns the subscriptions that shared it.
func (u *queueUpstream) removeWatch(token string, watch *queueWatch) []uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.watches[token] == watch {
		delete(u.watches, token)
	}
	return slices.Collect(maps.Keys(watch.subscriptions))
}
