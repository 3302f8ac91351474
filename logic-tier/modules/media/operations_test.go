package media_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// fakeOperations is an in-memory operations module that follows the contract.
type fakeOperations struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	byName  map[string]*operation
	// onReport, if set, is called with every report.
	onReport func(*operationspb.ReportOperationRequest)
}

type operation struct {
	request     *operationspb.CreateOperationRequest
	attempt     int64
	done, total int64
	unit        string
	steps       []string
	checkpoint  []byte
	cancel      bool
	finished    *operationspb.FinishOperationRequest
}

func newFakeOperations() *fakeOperations {
	return &fakeOperations{byName: map[string]*operation{}, changed: make(chan struct{})}
}

// update calls do with an operation and wakes the callers of AwaitCancellation.
func (s *fakeOperations) update(name string, do func(*operation)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.byName[name]
	if o == nil {
		return status.Error(codes.NotFound, "no such operation")
	}
	do(o)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *fakeOperations) CreateOperation(_ context.Context, r *operationspb.CreateOperationRequest, _ ...grpc.CallOption) (*operationspb.CreateOperationResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, o := range s.byName {
		if o.request.AccountId == r.AccountId && o.request.RequestId == r.RequestId {
			return &operationspb.CreateOperationResponse{Operation: o.handle(name)}, nil
		}
	}
	name := fmt.Sprintf("operations/%d", len(s.byName)+1)
	o := &operation{request: proto.CloneOf(r)}
	s.byName[name] = o
	return &operationspb.CreateOperationResponse{Operation: o.handle(name)}, nil
}

func (o *operation) handle(name string) *longrunningpb.Operation {
	h := &longrunningpb.Operation{Name: name, Done: o.finished != nil}
	switch outcome := o.finished.GetOutcome().(type) {
	case *operationspb.FinishOperationRequest_Error:
		h.Result = &longrunningpb.Operation_Error{Error: outcome.Error}
	case *operationspb.FinishOperationRequest_Cancelled:
		h.Result = &longrunningpb.Operation_Error{Error: &statuspb.Status{Code: int32(codes.Canceled)}}
	}
	return h
}

func (s *fakeOperations) ClaimOperation(_ context.Context, r *operationspb.ClaimOperationRequest, _ ...grpc.CallOption) (*operationspb.ClaimOperationResponse, error) {
	response := &operationspb.ClaimOperationResponse{}
	return response, s.update(r.Name, func(o *operation) {
		if o.finished != nil {
			return
		}
		o.attempt++
		response.Attempt, response.AccountId, response.Input, response.Checkpoint = o.attempt, o.request.AccountId, o.request.Input, o.checkpoint
		response.DoneCount, response.TotalCount = o.done, o.total
	})
}

func (s *fakeOperations) ReportOperation(ctx context.Context, r *operationspb.ReportOperationRequest, _ ...grpc.CallOption) (*operationspb.ReportOperationResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	response := &operationspb.ReportOperationResponse{}
	err := s.update(r.Name, func(o *operation) {
		if response.Superseded, response.CancelRequested = o.attempt != r.Attempt || o.finished != nil, o.cancel; response.Superseded {
			return
		}
		o.done, o.total, o.unit = max(o.done, r.DoneCount), max(o.total, r.TotalCount), r.Unit
		if r.Step != "" {
			o.steps = append(o.steps, r.Step)
		}
		if len(r.Checkpoint) > 0 {
			o.checkpoint = r.Checkpoint
		}
	})
	s.mu.Lock()
	onReport := s.onReport
	s.mu.Unlock()
	if onReport != nil {
		onReport(r)
	}
	return response, err
}

func (s *fakeOperations) FinishOperation(_ context.Context, r *operationspb.FinishOperationRequest, _ ...grpc.CallOption) (*operationspb.FinishOperationResponse, error) {
	response := &operationspb.FinishOperationResponse{}
	return response, s.update(r.Name, func(o *operation) {
		response.Superseded = r.Attempt != 0 && o.attempt != r.Attempt
		if o.finished == nil && !response.Superseded {
			o.finished = r
		}
	})
}

func (s *fakeOperations) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest, _ ...grpc.CallOption) (*operationspb.AwaitCancellationResponse, error) {
	for {
		s.mu.Lock()
		o, changed := s.byName[r.Name], s.changed
		response := &operationspb.AwaitCancellationResponse{Superseded: o.attempt != r.Attempt, CancelRequested: o.cancel}
		s.mu.Unlock()
		if response.Superseded || response.CancelRequested {
			return response, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

func (s *fakeOperations) cancel(name string) {
	_ = s.update(name, func(o *operation) { o.cancel = true })
}

func (s *fakeOperations) setOnReport(onReport func(*operationspb.ReportOperationRequest)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onReport = onReport
}

// state returns a copy of an operation.
func (s *fakeOperations) state(name string) operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := *s.byName[name]
	o.steps = append([]string(nil), o.steps...)
	return o
}

// log returns the steps, one per line.
func (o operation) log() string { return strings.Join(o.steps, "\n") }

// reason returns the reason code and the message of a failed operation.
func (o operation) reason() (reason, message string) {
	for _, detail := range status.FromProto(o.finished.GetError()).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	return reason, o.finished.GetError().GetMessage()
}

// publishStarted publishes the message that starts an operation.
func (r *replica) publishStarted(name string) {
	r.site.t.Helper()
	err := r.site.database.Open("operations").InTransaction(r.site.t.Context(), func(tx *postgres.Tx) error {
		_, err := r.engine.Publish(r.site.t.Context(), tx, queue.Message{
			Exchange: work.Exchange, RoutingKey: work.Started + ".recording", Type: work.Started,
			Body: &operationspb.OperationStarted{Operation: name},
		})
		return err
	})
	if err != nil {
		r.site.t.Fatal(err)
	}
}
