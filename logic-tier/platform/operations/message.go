package operations

import (
	"fmt"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

var stateToProto = map[state]operationspb.OperationMetadata_State{
	stateWaiting:   operationspb.OperationMetadata_STATE_WAITING,
	stateRunning:   operationspb.OperationMetadata_STATE_RUNNING,
	stateSucceeded: operationspb.OperationMetadata_STATE_SUCCEEDED,
	stateFailed:    operationspb.OperationMetadata_STATE_FAILED,
	stateCancelled: operationspb.OperationMetadata_STATE_CANCELLED,
}

// message returns the operation as an AIP-151 message.
func (o operation) message(epoch string) (*longrunningpb.Operation, error) {
	metadata := &operationspb.OperationMetadata{
		Kind: o.kind, Title: o.title, Subject: o.subject, State: stateToProto[o.state], CancelRequested: o.cancelRequested,
		DoneCount: o.done, TotalCount: o.total, Unit: o.unit, Percent: o.percent(),
		CreateTime: timestamp(o.created), StartTime: timestamp(o.started), EstimatedEndTime: timestamp(o.estimatedEnd()),
		EndTime: timestamp(o.ended), UpdateTime: timestamp(o.updated), Cursor: fmt.Sprintf("%s-%d", epoch, o.revision),
	}
	if o.finished() {
		metadata.ExpireTime = timestamp(o.ended.Add(retention))
	}
	for _, s := range o.steps {
		metadata.Steps = append(metadata.Steps, &operationspb.OperationMetadata_Step{Time: timestamp(s.at), Text: s.text})
	}
	packed, err := anypb.New(metadata)
	if err != nil {
		return nil, err
	}
	m := &longrunningpb.Operation{Name: o.name(), Metadata: packed, Done: o.finished()}
	switch o.state {
	case stateSucceeded:
		response := &anypb.Any{}
		m.Result = &longrunningpb.Operation_Response{Response: response}
		return m, proto.Unmarshal(o.response, response)
	case stateFailed:
		status := &rpcstatus.Status{}
		m.Result = &longrunningpb.Operation_Error{Error: status}
		return m, proto.Unmarshal(o.failure, status)
	case stateCancelled:
		m.Result = &longrunningpb.Operation_Error{Error: &rpcstatus.Status{Code: int32(codes.Canceled), Message: "the operation was cancelled"}}
	}
	return m, nil
}

// timestamp returns nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// parseOutcome returns the outcome that a worker sent.
func parseOutcome(r *operationspb.FinishOperationRequest) (result outcome, err error) {
	switch sent := r.Outcome.(type) {
	case *operationspb.FinishOperationRequest_Response:
		result = outcome{state: stateSucceeded, step: "Done."}
		result.response, err = proto.Marshal(sent.Response)
	case *operationspb.FinishOperationRequest_Error:
		result = outcome{state: stateFailed, step: "Failed: " + sent.Error.GetMessage()}
		result.failure, err = proto.Marshal(sent.Error)
	default:
		result = outcome{state: stateCancelled, step: "Cancelled."}
	}
	if r.Step != "" {
		result.step = r.Step
	}
	return result, err
}
