package logictest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/proto/transport"
)

// Queues is a fake of the logic tier's queue service. Tests set the snapshot, dead letters and
// test messages that it reports.
type Queues struct {
	mu       sync.Mutex
	snapshot *queuepb.Snapshot
	watchers map[chan *queuepb.Snapshot]context.CancelFunc
	sessions []string // of all watchers so far, in order
	letters  []*queuepb.DeadLetter
	tests    map[int64]*queuepb.GetTestMessageResponse
	lastID   int64 // of a dead letter or test message
}

// ServeQueues registers a fake queue service with t. It starts with IdleSnapshot and no dead
// letters.
func ServeQueues(t *Tier) *Queues {
	q := &Queues{snapshot: IdleSnapshot(), watchers: map[chan *queuepb.Snapshot]context.CancelFunc{}, tests: map[int64]*queuepb.GetTestMessageResponse{}}
	Answer(t, queuepb.Queues_GetQueues_FullMethodName, func(context.Context, *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		return &queuepb.GetQueuesResponse{Snapshot: q.snapshot}, nil
	})
	t.Stream(queuepb.Queues_WatchQueues_FullMethodName, q.watch)
	Answer(t, queuepb.Queues_ListDeadLetters_FullMethodName, q.list)
	Answer(t, queuepb.Queues_GetDeadLetter_FullMethodName, q.open)
	Answer(t, queuepb.Queues_RedriveDeadLetters_FullMethodName, func(_ context.Context, r *queuepb.RedriveDeadLettersRequest) (*queuepb.RedriveDeadLettersResponse, error) {
		n, err := q.remove(r.Queue, r.Ids, r.All)
		return &queuepb.RedriveDeadLettersResponse{RedrivenCount: n}, err
	})
	Answer(t, queuepb.Queues_DiscardDeadLetters_FullMethodName, func(_ context.Context, r *queuepb.DiscardDeadLettersRequest) (*queuepb.DiscardDeadLettersResponse, error) {
		n, err := q.remove(r.Queue, r.Ids, r.All)
		return &queuepb.DiscardDeadLettersResponse{DiscardedCount: n}, err
	})
	Answer(t, queuepb.Queues_SendTestMessage_FullMethodName, q.send)
	Answer(t, queuepb.Queues_GetTestMessage_FullMethodName, func(_ context.Context, r *queuepb.GetTestMessageRequest) (*queuepb.GetTestMessageResponse, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if test := q.tests[r.Id]; test != nil {
			return proto.CloneOf(test), nil
		}
		return nil, Refusal(codes.NotFound, "TEST_MESSAGE_NOT_FOUND", "there is no such test message: test messages expire after an hour")
	})
	return q
}

// SetSnapshot sets the current snapshot and sends it to all watchers.
func (q *Queues) SetSnapshot(s *queuepb.Snapshot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.snapshot = proto.CloneOf(s)
	for snapshots := range q.watchers {
		select {
		case <-snapshots: // replace the snapshot that a slow watcher has not received
		default:
		}
		snapshots <- q.snapshot
	}
}

// WatcherCount returns the number of open watch streams.
func (q *Queues) WatcherCount() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.watchers)
}

// WatcherSessions returns the session tokens of all watch streams opened so far, in order.
func (q *Queues) WatcherSessions() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.sessions)
}

// Drain ends all watch streams, as a stopping server does.
func (q *Queues) Drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, cancel := range q.watchers {
		cancel()
	}
}

// AddDeadLetters adds dead letters, oldest first, and returns their IDs.
func (q *Queues) AddDeadLetters(letters ...*queuepb.DeadLetter) (ids []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range letters {
		q.lastID++
		l = proto.CloneOf(l)
		l.Id = q.lastID
		q.letters, ids = append(q.letters, l), append(ids, l.Id)
	}
	return ids
}

// SetMatchingBindings sets the bindings that a test message matched.
func (q *Queues) SetMatchingBindings(id int64, bindings ...*queuepb.Binding) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tests[id].MatchingBindings = bindings
}

// AddDelivery adds a delivery of a test message.
func (q *Queues) AddDelivery(id int64, d *queuepb.TestDelivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tests[id].Deliveries = append(q.tests[id].Deliveries, d)
}

func (q *Queues) watch(stream grpc.ServerStream) error {
	if err := stream.RecvMsg(&queuepb.WatchQueuesRequest{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	snapshots := make(chan *queuepb.Snapshot, 1)
	q.mu.Lock()
	snapshots <- q.snapshot
	q.watchers[snapshots] = cancel
	q.sessions = append(q.sessions, metadataValue(ctx, transport.SessionKey))
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.watchers, snapshots)
	}()
	for {
		select {
		case <-ctx.Done():
			return Refusal(codes.Unavailable, "DRAINING", "the server is stopping")
		case s := <-snapshots:
			if err := stream.SendMsg(&queuepb.WatchQueuesResponse{Snapshot: s}); err != nil {
				return err
			}
		}
	}
}

// matchesQueue reports whether l belongs to the listing that a request selects.
func matchesQueue(l *queuepb.DeadLetter, queue string, unroutable bool) bool {
	return queue == "" && !unroutable || l.Queue == queue
}

func (q *Queues) list(_ context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	response := &queuepb.ListDeadLettersResponse{}
	beforeID := int64(math.MaxInt64)
	if r.PageToken != "" {
		var err error
		if beforeID, err = strconv.ParseInt(r.PageToken, 10, 64); err != nil {
			return nil, Refusal(codes.InvalidArgument, "PAGE_TOKEN_INVALID", "invalid page token")
		}
	}
	for _, l := range slices.Backward(q.letters) {
		if !matchesQueue(l, r.Queue, r.Unroutable) || l.Id >= beforeID {
			continue
		}
		if n := len(response.DeadLetters); n == int(cmp.Or(r.PageSize, 20)) {
			response.NextPageToken = fmt.Sprint(response.DeadLetters[n-1].Id)
			break
		}
		summary := proto.CloneOf(l)
		summary.Body, summary.History = "", nil
		response.DeadLetters = append(response.DeadLetters, summary)
	}
	return response, nil
}

func (q *Queues) open(_ context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.letters {
		if l.Id == r.Id && l.Queue == r.Queue {
			return &queuepb.GetDeadLetterResponse{DeadLetter: l}, nil
		}
	}
	return nil, Refusal(codes.NotFound, "DEAD_LETTER_NOT_FOUND", "there is no such dead letter: it was redriven or discarded")
}

func (q *Queues) remove(queue string, ids []int64, all bool) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if all == (len(ids) > 0) {
		return 0, Refusal(codes.InvalidArgument, "FIELDS_INVALID", "no dead letters selected", "ids", "set either ids or all")
	}
	total := len(q.letters)
	q.letters = slices.DeleteFunc(q.letters, func(l *queuepb.DeadLetter) bool {
		return l.Queue == queue && (all || slices.Contains(ids, l.Id))
	})
	return int64(total - len(q.letters)), nil
}

func (q *Queues) send(_ context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.ContainsFunc(q.snapshot.Exchanges, func(x *queuepb.Exchange) bool { return x.Test && x.Name == r.Exchange }) {
		return nil, Refusal(codes.NotFound, "EXCHANGE_NOT_FOUND", "there is no such test exchange: use test.direct, test.fanout, test.headers or test.topic")
	}
	violations := map[string]string{}
	if r.Priority < 0 || r.Priority > 9 {
		violations["priority"] = "use 0 to 9"
	}
	if r.FailingDeliveries < 0 || r.FailingDeliveries > 20 {
		violations["failing_deliveries"] = "use 0 to 20"
	}
	for key, value := range r.Headers {
		if len(value) > 100 {
			violations[fmt.Sprintf("headers[%q]", key)] = "use at most 100 characters"
		}
	}
	if len(violations) > 0 {
		var pairs []string
		for _, field := range slices.Sorted(maps.Keys(violations)) {
			pairs = append(pairs, field, violations[field])
		}
		return nil, Refusal(codes.InvalidArgument, "FIELDS_INVALID", "invalid fields", pairs...)
	}
	q.lastID++
	q.tests[q.lastID] = &queuepb.GetTestMessageResponse{Message: r, SendTime: timestamppb.New(time.Now())}
	return &queuepb.SendTestMessageResponse{Id: q.lastID}, nil
}
