package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/platform/logictest"
)

const operationName = "operations/abc"

// fakeOperation is a logic tier with one operation.
type fakeOperation struct {
	tier *logictest.Tier

	mu            sync.Mutex
	epoch         string
	revision      int64
	metadata      *operationspb.OperationMetadata
	response      proto.Message // not nil once the operation has succeeded
	subscriptions map[uint64]bool
	stream        grpc.ServerStream
	cancel        context.CancelFunc
}

func newFakeOperation(t *testing.T) *fakeOperation {
	t.Helper()
	op := &fakeOperation{tier: logictest.New(t), epoch: epoch, revision: 1, subscriptions: map[uint64]bool{}, metadata: &operationspb.OperationMetadata{
		Kind: "import", Title: "Import of talks", State: operationspb.OperationMetadata_STATE_RUNNING, TotalCount: 100, Unit: "talks",
		UpdateTime: timestamppb.New(time.Now()),
	}}
	logictest.Answer(op.tier, longrunningpb.Operations_GetOperation_FullMethodName,
		func(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
			if r.Name != operationName {
				return nil, logictest.Refusal(codes.NotFound, "OPERATION_NOT_FOUND", "you have no such operation")
			}
			op.mu.Lock()
			defer op.mu.Unlock()
			return op.operation(), nil
		})
	op.tier.Stream(operationspb.OperationStreams_StreamOperations_FullMethodName, op.serve)
	return op
}

// serveOperation serves a feed of the operation.
func serveOperation(t *testing.T, op *fakeOperation) *testServer {
	t.Helper()
	return serveFeed(t, NewOperations(op.tier.Logic.Operations, op.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler)), operationName)
}

// operation returns the current state. The caller holds the lock.
func (op *fakeOperation) operation() *longrunningpb.Operation {
	op.metadata.Cursor = cursor{op.epoch, op.revision}.String()
	o := &longrunningpb.Operation{Name: operationName, Metadata: pack(op.metadata)}
	if op.response != nil {
		o.Done, o.Result = true, &longrunningpb.Operation_Response{Response: pack(op.response)}
	}
	return o
}

func pack(m proto.Message) *anypb.Any {
	if packed, ok := m.(*anypb.Any); ok {
		return packed
	}
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // the messages have only valid UTF-8
	}
	return a
}

func (op *fakeOperation) serve(stream grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	op.mu.Lock()
	op.stream, op.cancel, op.subscriptions = stream, cancel, map[uint64]bool{}
	op.mu.Unlock()
	go func() {
		defer cancel()
		for {
			request := &operationspb.StreamOperationsRequest{}
			if stream.RecvMsg(request) != nil {
				return
			}
			op.subscribe(stream, request)
		}
	}()
	<-ctx.Done()
	return logictest.Refusal(codes.Unavailable, "DRAINING", "the server is shutting down")
}

func (op *fakeOperation) subscribe(stream grpc.ServerStream, request *operationspb.StreamOperationsRequest) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if unsubscribe := request.GetUnsubscribe(); unsubscribe != nil {
		delete(op.subscriptions, unsubscribe.Subscription)
		return
	}
	subscribe, reason := request.GetSubscribe(), ""
	switch {
	case op.stream != stream:
		return // the stream has failed meanwhile
	case subscribe.SessionToken != logictest.Session:
		reason = "SESSION_INVALID"
	case subscribe.Operation != operationName:
		reason = "OPERATION_NOT_FOUND"
	}
	if reason != "" {
		op.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Ended_{
			Ended: &operationspb.StreamOperationsResponse_Ended{Subscription: subscribe.Subscription, Reason: reason}}})
		return
	}
	op.subscriptions[subscribe.Subscription] = true
	op.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Subscribed_{
		Subscribed: &operationspb.StreamOperationsResponse_Subscribed{Subscription: subscribe.Subscription}}})
}

// send sends an event. The caller holds the lock.
func (op *fakeOperation) send(event *operationspb.StreamOperationsResponse) {
	if op.stream != nil {
		_ = op.stream.SendMsg(event) // serve notices a failed stream
	}
}

// updateSilently changes the operation without sending the change.
func (op *fakeOperation) updateSilently(done int64) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.revision++
	op.metadata.DoneCount, op.metadata.UpdateTime = done, timestamppb.New(time.Now())
}

// update changes the operation and sends it to the subscribers.
func (op *fakeOperation) update(done int64) {
	op.updateSilently(done)
	op.broadcast()
}

// succeed completes the operation and sends it to the subscribers.
func (op *fakeOperation) succeed() {
	op.mu.Lock()
	op.response = &transferspb.ImportCatalogueResponse{TalksCreated: 100}
	op.metadata.State = operationspb.OperationMetadata_STATE_SUCCEEDED
	op.mu.Unlock()
	op.update(100)
}

func (op *fakeOperation) broadcast() {
	op.mu.Lock()
	defer op.mu.Unlock()
	changed := &operationspb.StreamOperationsResponse_Changed{Operation: op.operation()}
	for id := range op.subscriptions {
		changed.Subscriptions = append(changed.Subscriptions, id)
	}
	if len(changed.Subscriptions) > 0 {
		op.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Changed_{Changed: changed}})
	}
}

func (op *fakeOperation) breakStream() {
	op.mu.Lock()
	op.subscriptions, op.stream = map[uint64]bool{}, nil
	cancel := op.cancel
	op.mu.Unlock()
	cancel()
}

func (op *fakeOperation) subscriberCount() int {
	op.mu.Lock()
	defer op.mu.Unlock()
	return len(op.subscriptions)
}

func (op *fakeOperation) reads() int {
	return len(op.tier.Calls(longrunningpb.Operations_GetOperation_FullMethodName))
}

// awaitSubscribers waits for n subscribers and for a number of reads.
func (op *fakeOperation) awaitSubscribers(t *testing.T, n, reads int) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("there are %d subscribers and %d reads", n, reads), func() bool { return op.subscriberCount() == n && op.reads() == reads })
}

// observation is the sequence of states that one client received.
type observation struct {
	cursors []string
	final   *longrunningpb.Operation
}

func (o *observation) add(t *testing.T, operation *longrunningpb.Operation) {
	t.Helper()
	metadata := &operationspb.OperationMetadata{}
	if err := operation.Metadata.UnmarshalTo(metadata); err != nil {
		t.Fatal(err)
	}
	if operation.Done {
		o.final = operation
	}
	o.cursors = append(o.cursors, metadata.Cursor)
}

// ascending reports whether the cursors increase strictly.
func (o *observation) ascending() bool {
	for i := 1; i < len(o.cursors); i++ {
		previous, _ := parseCursor(o.cursors[i-1])
		if c, _ := parseCursor(o.cursors[i]); c.sequence <= previous.sequence {
			return false
		}
	}
	return true
}
