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

var stateOf = map[state]operationspb.OperationMetadata_State{
	waiting:   operationspb.OperationMetadata_STATE_WAITING,
	running:   operationspb.OperationMetadata_STATE_RUNNING,
	succeeded: operationspb.OperationMetadata_STATE_SUCCEEDED,
	failed:    operationspb.OperationMetadata_STATE_FAILED,
	cancelled: operationspb.OperationMetadata_STATE_CANCELLED,
}

// message returns an operation as AIP-151 has it.
func (o operation) message(epoch string) (*longrunningpb.Operation, error) {
	metadata := &operationspb.OperationMetadata{
		Kind: o.kind, Title: o.title, Subject: o.subject, State: stateOf[o.state], CancelRequested: o.cancelRequested,
		DoneCount: o.done, TotalCount: o.total, Unit: o.unit, Percent: o.percent(),
		CreateTime: moment(o.created), StartTime: moment(o.started), EstimatedEndTime: moment(o.estimatedEnd()),
		EndTime: moment(o.ended), UpdateTime: moment(o.updated), Cursor: fmt.Sprintf("%s-%d", epoch, o.revision),
	}
	if o.over() {
		metadata.ExpireTime = moment(o.ended.Add(keep))
	}
	for _, s := range o.steps {
		metadata.Steps = append(metadata.Steps, &operationspb.OperationMetadata_Step{Time: moment(s.at), Text: s.text})
	}
	packed, err := anypb.New(metadata)
	if err != nil {
		return nil, err
	}
	m := &longrunningpb.Operation{Name: o.name(), Metadata: packed, Done: o.over()}
	switch o.state {
	case succeeded:
		response := &anypb.Any{}
		m.Result = &longrunningpb.Operation_Response{Response: response}
		return m, proto.Unmarshal(o.response, response)
	case failed:
		status := &rpcstatus.Status{}
		m.Result = &longrunningpb.Operation_Error{Error: status}
		return m, proto.Unmarshal(o.failure, status)
	case cancelled:
		m.Result = &longrunningpb.Operation_Error{Error: &rpcstatus.Status{Code: int32(codes.Canceled), Message: "it was cancelled"}}
	}
	return m, nil
}

func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// outcomeOf reads how a worker says that its work ended.
func outcomeOf(r *operationspb.FinishOperationRequest) (as outcome, err error) {
	switch how := r.Outcome.(type) {
	case *operationspb.FinishOperationRequest_Response:
		as = outcome{state: succeeded, step: "Done."}
		as.response, err = proto.Marshal(how.Response)
	case *operationspb.FinishOperationRequest_Error:
		as = outcome{state: failed, step: "Failed: " + how.Error.GetMessage()}
		as.failure, err = proto.Marshal(how.Error)
	default:
		as = outcome{state: cancelled, step: "Cancelled."}
	}
	if r.Step != "" {
		as.step = r.Step
	}
	return as, err
}
