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

// Queues is a stand-in for the message queue as operators see it: it is how it
// was last told to be.
type Queues struct {
	mu       sync.Mutex
	snapshot *queuepb.Snapshot
	watchers map[chan *queuepb.Snapshot]func() // with what ends each
	opened   []string                          // whose sessions watched, in order
	letters  []*queuepb.DeadLetter
	tests    map[int64]*queuepb.GetTestMessageResponse
	last     int64 // id of a message
}

// KeepQueues has the stand-in answer for the message queue from now on. It begins
// with Idle and no dead letter.
func KeepQueues(t *Tier) *Queues {
	q := &Queues{snapshot: Idle(), watchers: map[chan *queuepb.Snapshot]func(){}, tests: map[int64]*queuepb.GetTestMessageResponse{}}
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
		return nil, Refusal(codes.NotFound, "TEST_MESSAGE_NOT_FOUND", "there is no such test message: they are kept for an hour")
	})
	return q
}

// Become makes the queue be as a snapshot says, and tells who watches.
func (q *Queues) Become(s *queuepb.Snapshot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.snapshot = proto.CloneOf(s)
	for told := range q.watchers {
		select {
		case <-told: // too slow: the latest only
		default:
		}
		told <- q.snapshot
	}
}

// Watchers returns how many watch.
func (q *Queues) Watchers() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.watchers)
}

// Opened returns the sessions with which somebody began to watch, in order.
func (q *Queues) Opened() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.opened)
}

// Drain ends whatever watches, as a server does that stops.
func (q *Queues) Drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, end := range q.watchers {
		end()
	}
}

// AddDeadLetters adds dead letters, the latest last, and returns their ids.
func (q *Queues) AddDeadLetters(letters ...*queuepb.DeadLetter) (ids []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range letters {
		q.last++
		l = proto.CloneOf(l)
		l.Id = q.last
		q.letters, ids = append(q.letters, l), append(ids, l.Id)
	}
	return ids
}

// Matched says which bindings of the topology a test message matched.
func (q *Queues) Matched(id int64, bindings ...*queuepb.Binding) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tests[id].MatchingBindings = bindings
}

// Deliver adds a delivery of a test message.
func (q *Queues) Deliver(id int64, d *queuepb.TestDelivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tests[id].Deliveries = append(q.tests[id].Deliveries, d)
}

func (q *Queues) watch(stream grpc.ServerStream) error {
	if err := stream.RecvMsg(&queuepb.WatchQueuesRequest{}); err != nil {
		return err
	}
	ctx, end := context.WithCancel(stream.Context())
	defer end()
	told := make(chan *queuepb.Snapshot, 1)
	q.mu.Lock()
	told <- q.snapshot
	q.watchers[told] = end
	q.opened = append(q.opened, one(ctx, transport.SessionKey))
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.watchers, told)
	}()
	for {
		select {
		case <-ctx.Done():
			return Refusal(codes.Unavailable, "DRAINING", "the server stops")
		case s := <-told:
			if err := stream.SendMsg(&queuepb.WatchQueuesResponse{Snapshot: s}); err != nil {
				return err
			}
		}
	}
}

// of says whether a dead letter is one of those that a queue's name means.
func of(l *queuepb.DeadLetter, queue string, unroutable bool) bool {
	return queue == "" && !unroutable || l.Queue == queue
}

func (q *Queues) list(_ context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	answer := &queuepb.ListDeadLettersResponse{}
	before := int64(math.MaxInt64)
	if r.PageToken != "" {
		var err error
		if before, err = strconv.ParseInt(r.PageToken, 10, 64); err != nil {
			return nil, Refusal(codes.InvalidArgument, "PAGE_TOKEN_INVALID", "that is no page token")
		}
	}
	for _, l := range slices.Backward(q.letters) {
		if !of(l, r.Queue, r.Unroutable) || l.Id >= before {
			continue
		}
		if n := len(answer.DeadLetters); n == int(cmp.Or(r.PageSize, 20)) {
			answer.NextPageToken = fmt.Sprint(answer.DeadLetters[n-1].Id)
			break
		}
		short := proto.CloneOf(l)
		short.Body, short.History = "", nil
		answer.DeadLetters = append(answer.DeadLetters, short)
	}
	return answer, nil
}

func (q *Queues) open(_ context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.letters {
		if l.Id == r.Id && l.Queue == r.Queue {
			return &queuepb.GetDeadLetterResponse{DeadLetter: l}, nil
		}
	}
	return nil, Refusal(codes.NotFound, "DEAD_LETTER_NOT_FOUND", "there is no such dead letter: it was delivered again or discarded")
}

func (q *Queues) remove(queue string, ids []int64, all bool) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if all == (len(ids) > 0) {
		return 0, Refusal(codes.InvalidArgument, "FIELDS_INVALID", "say which", "ids", "name some, or say all")
	}
	before := len(q.letters)
	q.letters = slices.DeleteFunc(q.letters, func(l *queuepb.DeadLetter) bool {
		return l.Queue == queue && (all || slices.Contains(ids, l.Id))
	})
	return int64(before - len(q.letters)), nil
}

func (q *Queues) send(_ context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.ContainsFunc(q.snapshot.Exchanges, func(x *queuepb.Exchange) bool { return x.Test && x.Name == r.Exchange }) {
		return nil, Refusal(codes.NotFound, "EXCHANGE_NOT_FOUND", "there is no such test exchange: use test.direct, test.fanout, test.headers or test.topic")
	}
	wrong := map[string]string{}
	if r.Priority < 0 || r.Priority > 9 {
		wrong["priority"] = "use 0 to 9"
	}
	if r.FailingDeliveries < 0 || r.FailingDeliveries > 20 {
		wrong["failing_deliveries"] = "use 0 to 20"
	}
	for key, value := range r.Headers {
		if len(value) > 100 {
			wrong[fmt.Sprintf("headers[%q]", key)] = "use at most 100 characters"
		}
	}
	if len(wrong) > 0 {
		var pairs []string
		for _, field := range slices.Sorted(maps.Keys(wrong)) {
			pairs = append(pairs, field, wrong[field])
		}
		return nil, Refusal(codes.InvalidArgument, "FIELDS_INVALID", "something is wrong", pairs...)
	}
	q.last++
	q.tests[q.last] = &queuepb.GetTestMessageResponse{Message: r, SendTime: timestamppb.New(time.Now())}
	return &queuepb.SendTestMessageResponse{Id: q.last}, nil
}
