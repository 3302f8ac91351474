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

// operations is the neighbour that keeps operations: in memory, and it says of
// them what their contract says.
type operations struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	all     map[string]*operation
	// onReport, when set, hears every report.
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
	end         *operationspb.FinishOperationRequest
}

func newOperations() *operations {
	return &operations{all: map[string]*operation{}, changed: make(chan struct{})}
}

func (s *operations) change(name string, do func(*operation)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.all[name]
	if o == nil {
		return status.Error(codes.NotFound, "there is no such operation")
	}
	do(o)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *operations) CreateOperation(_ context.Context, r *operationspb.CreateOperationRequest, _ ...grpc.CallOption) (*operationspb.CreateOperationResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, o := range s.all {
		if o.request.AccountId == r.AccountId && o.request.RequestId == r.RequestId {
			return &operationspb.CreateOperationResponse{Operation: o.handle(name)}, nil
		}
	}
	name := fmt.Sprintf("operations/%d", len(s.all)+1)
	o := &operation{request: proto.CloneOf(r)}
	s.all[name] = o
	return &operationspb.CreateOperationResponse{Operation: o.handle(name)}, nil
}

func (o *operation) handle(name string) *longrunningpb.Operation {
	h := &longrunningpb.Operation{Name: name, Done: o.end != nil}
	switch outcome := o.end.GetOutcome().(type) {
	case *operationspb.FinishOperationRequest_Error:
		h.Result = &longrunningpb.Operation_Error{Error: outcome.Error}
	case *operationspb.FinishOperationRequest_Cancelled:
		h.Result = &longrunningpb.Operation_Error{Error: &statuspb.Status{Code: int32(codes.Canceled)}}
	}
	return h
}

func (s *operations) ClaimOperation(_ context.Context, r *operationspb.ClaimOperationRequest, _ ...grpc.CallOption) (*operationspb.ClaimOperationResponse, error) {
	answer := &operationspb.ClaimOperationResponse{}
	return answer, s.change(r.Name, func(o *operation) {
		if o.end != nil {
			return
		}
		o.attempt++
		answer.Attempt, answer.AccountId, answer.Input, answer.Checkpoint = o.attempt, o.request.AccountId, o.request.Input, o.checkpoint
		answer.DoneCount, answer.TotalCount = o.done, o.total
	})
}

func (s *operations) ReportOperation(ctx context.Context, r *operationspb.ReportOperationRequest, _ ...grpc.CallOption) (*operationspb.ReportOperationResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer := &operationspb.ReportOperationResponse{}
	err := s.change(r.Name, func(o *operation) {
		if answer.Superseded, answer.CancelRequested = o.attempt != r.Attempt || o.end != nil, o.cancel; answer.Superseded {
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
	hear := s.onReport
	s.mu.Unlock()
	if hear != nil {
		hear(r)
	}
	return answer, err
}

func (s *operations) FinishOperation(_ context.Context, r *operationspb.FinishOperationRequest, _ ...grpc.CallOption) (*operationspb.FinishOperationResponse, error) {
	answer := &operationspb.FinishOperationResponse{}
	return answer, s.change(r.Name, func(o *operation) {
		answer.Superseded = r.Attempt != 0 && o.attempt != r.Attempt
		if o.end == nil && !answer.Superseded {
			o.end = r
		}
	})
}

func (s *operations) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest, _ ...grpc.CallOption) (*operationspb.AwaitCancellationResponse, error) {
	for {
		s.mu.Lock()
		o, changed := s.all[r.Name], s.changed
		answer := &operationspb.AwaitCancellationResponse{Superseded: o.attempt != r.Attempt, CancelRequested: o.cancel}
		s.mu.Unlock()
		if answer.Superseded || answer.CancelRequested {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

func (s *operations) cancel(name string) { _ = s.change(name, func(o *operation) { o.cancel = true }) }

func (s *operations) hearReports(hear func(*operationspb.ReportOperationRequest)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onReport = hear
}

// state returns an operation as it is now.
func (s *operations) state(name string) operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := *s.all[name]
	o.steps = append([]string(nil), o.steps...)
	return o
}

func (o operation) said() string { return strings.Join(o.steps, "\n") }

// reason is why it failed, and what people read of it.
func (o operation) reason() (reason, message string) {
	for _, detail := range status.FromProto(o.end.GetError()).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	return reason, o.end.GetError().GetMessage()
}

// startWork says that an operation is to be worked now, as its module does.
func (r *replica) startWork(name string) {
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
