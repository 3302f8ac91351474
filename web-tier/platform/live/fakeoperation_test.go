package live

import (
	"context"
	"log/slog"
	"slices"
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

// work is a stand-in for an operation of Ada's in the logic tier: how far it is,
// and who follows it.
type work struct {
	tier *logictest.Tier

	mu        sync.Mutex
	epoch     string
	revision  int64
	metadata  *operationspb.OperationMetadata
	response  proto.Message // of an operation that is done
	followers map[uint64]bool
	stream    grpc.ServerStream
	drop      context.CancelFunc
}

func newWork(t *testing.T) *work {
	t.Helper()
	k := &work{tier: logictest.New(t), epoch: epoch, revision: 1, followers: map[uint64]bool{}, metadata: &operationspb.OperationMetadata{
		Kind: "import", Title: "Import of talks", State: operationspb.OperationMetadata_STATE_RUNNING, TotalCount: 100, Unit: "talks",
		UpdateTime: timestamppb.New(time.Now()),
	}}
	logictest.Answer(k.tier, longrunningpb.Operations_GetOperation_FullMethodName,
		func(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
			if r.Name != operationName {
				return nil, logictest.Refusal(codes.NotFound, "OPERATION_NOT_FOUND", "there is no such operation of yours")
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.operation(), nil
		})
	k.tier.Stream(operationspb.OperationStreams_StreamOperations_FullMethodName, k.follow)
	return k
}

// serveWork is the web tier's side of it.
func serveWork(t *testing.T, k *work) *web {
	t.Helper()
	return serve(t, NewOperations(k.tier.Logic.Operations, k.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler)), operationName)
}

// operation is called with the lock held.
func (k *work) operation() *longrunningpb.Operation {
	k.metadata.Cursor = cursor{k.epoch, k.revision}.String()
	o := &longrunningpb.Operation{Name: operationName, Metadata: packed(k.metadata)}
	if k.response != nil {
		o.Done, o.Result = true, &longrunningpb.Operation_Response{Response: packed(k.response)}
	}
	return o
}

func packed(m proto.Message) *anypb.Any {
	if already, ok := m.(*anypb.Any); ok {
		return already
	}
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // it holds no text that is none
	}
	return a
}

func (k *work) follow(stream grpc.ServerStream) error {
	ctx, drop := context.WithCancel(stream.Context())
	defer drop()
	k.mu.Lock()
	k.stream, k.drop, k.followers = stream, drop, map[uint64]bool{}
	k.mu.Unlock()
	go func() {
		defer drop()
		for {
			request := &operationspb.StreamOperationsRequest{}
			if stream.RecvMsg(request) != nil {
				return
			}
			k.subscribe(stream, request)
		}
	}()
	<-ctx.Done()
	return logictest.Refusal(codes.Unavailable, "DRAINING", "the server stops")
}

func (k *work) subscribe(stream grpc.ServerStream, request *operationspb.StreamOperationsRequest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ended := request.GetUnsubscribe(); ended != nil {
		delete(k.followers, ended.Subscription)
		return
	}
	asked, reason := request.GetSubscribe(), ""
	switch {
	case k.stream != stream:
		return // it was lost meanwhile
	case asked.SessionToken != logictest.Session:
		reason = "SESSION_INVALID"
	case asked.Operation != operationName:
		reason = "OPERATION_NOT_FOUND"
	}
	if reason != "" {
		k.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Ended_{
			Ended: &operationspb.StreamOperationsResponse_Ended{Subscription: asked.Subscription, Reason: reason}}})
		return
	}
	k.followers[asked.Subscription] = true
	k.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Subscribed_{
		Subscribed: &operationspb.StreamOperationsResponse_Subscribed{Subscription: asked.Subscription}}})
}

// send is called with the lock held.
func (k *work) send(event *operationspb.StreamOperationsResponse) {
	if k.stream != nil {
		_ = k.stream.SendMsg(event) // an end is seen by follow
	}
}

// miss changes the operation, and tells nobody.
func (k *work) miss(done int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revision++
	k.metadata.DoneCount, k.metadata.UpdateTime = done, timestamppb.New(time.Now())
}

// progress changes the operation and tells who follows.
func (k *work) progress(done int64) {
	k.miss(done)
	k.tell()
}

// succeed ends the operation and tells who follows.
func (k *work) succeed() {
	k.mu.Lock()
	k.response = &transferspb.ImportCatalogueResponse{TalksCreated: 100}
	k.metadata.State = operationspb.OperationMetadata_STATE_SUCCEEDED
	k.mu.Unlock()
	k.progress(100)
}

func (k *work) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := &operationspb.StreamOperationsResponse_Changed{Operation: k.operation()}
	for number := range k.followers {
		changed.Subscriptions = append(changed.Subscriptions, number)
	}
	if len(changed.Subscriptions) > 0 {
		k.send(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Changed_{Changed: changed}})
	}
}

func (k *work) loseStream() {
	k.mu.Lock()
	k.followers, k.stream = map[uint64]bool{}, nil
	drop := k.drop
	k.mu.Unlock()
	drop()
}

func (k *work) following() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.followers)
}

func (k *work) reads() int {
	return len(k.tier.Calls(longrunningpb.Operations_GetOperation_FullMethodName))
}

// waiting waits until so many follow, and have read what they follow.
func (k *work) waiting(t *testing.T, n, reads int) {
	t.Helper()
	until(t, "they wait", func() bool { return k.following() == n && k.reads() == reads })
}

// seenBy is what one client saw of an operation.
type seenBy struct {
	cursors []string
	final   *longrunningpb.Operation
}

func (s *seenBy) see(t *testing.T, o *longrunningpb.Operation) {
	t.Helper()
	metadata := &operationspb.OperationMetadata{}
	if err := o.Metadata.UnmarshalTo(metadata); err != nil {
		t.Fatal(err)
	}
	if o.Done {
		s.final = o
	}
	s.cursors = append(s.cursors, metadata.Cursor)
}

// ascending says whether nothing came twice, or went back.
func (s *seenBy) ascending() bool {
	return slices.IsSortedFunc(s.cursors, func(a, b string) int {
		at, _ := parseCursor(a)
		to, _ := parseCursor(b)
		if at.sequence < to.sequence {
			return -1
		}
		return 1
	})
}
