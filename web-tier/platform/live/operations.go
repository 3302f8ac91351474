package live

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // types in an operation's error
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	_ "techtalks.example/proto/techtalks/media/v1" // types in an operation's response, as are talks and transfers
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	_ "techtalks.example/proto/techtalks/talks/v1"
	_ "techtalks.example/proto/techtalks/transfers/v1"
)

// NewOperations returns a Feed of operations; a key is "operations/{operation}".
//
// Each change is an event "operation" with the whole operation, which supersedes the
// events before it. An invalid cursor therefore needs no reset and is answered with the
// current state. No event follows the change that completes an operation: a short poll
// then returns no Retry-After, a long poll returns at once, and a stream closes.
func NewOperations(client longrunningpb.OperationsClient, streams operationspb.OperationStreamsClient, log *slog.Logger) *Feed {
	return newFeed(operationSource{client, streams}, log.With("feed", "operations"))
}

// operationSource is the source of operations.
type operationSource struct {
	client  longrunningpb.OperationsClient
	streams operationspb.OperationStreamsClient
}

// maxNameLength is the contract's limit on an operation's name.
const maxNameLength = 100

func (operationSource) validKey(key string) bool {
	return utf8.ValidString(key) && len(key) <= maxNameLength
}

func (operationSource) traits() traits {
	return traits{coalesce: true, finite: true, signInMessage: "Sign in to see your operations."}
}

func (s operationSource) read(ctx context.Context, key, after string) (page, error) {
	operation, err := s.client.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: key})
	if err != nil {
		return page{}, err
	}
	p, err := operationPage(operation)
	if err == nil && after != p.cursor.String() {
		p.frames = []*frame{p.snapshot}
	}
	return p, err
}

// operationPage returns a page with the operation as its snapshot and without frames.
func operationPage(operation *longrunningpb.Operation) (page, error) {
	f, metadata, err := operationFrame(operation)
	if err != nil {
		return page{}, err
	}
	p := page{cursor: f.cursor, snapshot: f, done: operation.Done, updateTime: asTime(metadata.UpdateTime), expectedEnd: asTime(metadata.EstimatedEndTime)}
	return p, nil
}

func operationFrame(operation *longrunningpb.Operation) (*frame, *operationspb.OperationMetadata, error) {
	metadata := &operationspb.OperationMetadata{}
	if err := operation.GetMetadata().UnmarshalTo(metadata); err != nil {
		return nil, nil, fmt.Errorf("the metadata of %s: %w", operation.GetName(), err)
	}
	f, err := newFrame("operation", metadata.Cursor, operation)
	if err != nil {
		// The result may be of a type that this binary does not know yet. The
		// progress can be reported without it.
		f, err = newFrame("operation", metadata.Cursor, withoutDetails(operation))
	}
	if err != nil {
		return nil, nil, err
	}
	f.final = operation.Done
	return f, metadata, nil
}

// withoutDetails returns a copy without the parts whose type may be unknown.
func withoutDetails(operation *longrunningpb.Operation) *longrunningpb.Operation {
	bare := proto.CloneOf(operation)
	switch result := bare.Result.(type) {
	case *longrunningpb.Operation_Response:
		result.Response = &anypb.Any{}
	case *longrunningpb.Operation_Error:
		result.Error.Details = nil
	}
	return bare
}

func (operationSource) pollBody(p page) ([]byte, error) {
	if n := len(p.frames); n > 0 {
		return p.frames[n-1].json, nil
	}
	return p.snapshot.json, nil
}

// AnswerOperation answers a short poll of GET /operations/{operation}, like Since, with
// an operation that the caller has read already.
func AnswerOperation(w http.ResponseWriter, r *http.Request, operation *longrunningpb.Operation) {
	p, err := operationPage(operation)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	answerPoll(w, r, operationSource{}, p)
}

func (s operationSource) open(ctx context.Context) (upstream, error) {
	stream, err := s.streams.StreamOperations(ctx)
	return operationUpstream{stream}, err
}

type operationUpstream struct {
	operationspb.OperationStreams_StreamOperationsClient
}

func (u operationUpstream) send(c subscriptionChange) error {
	if c.unsubscribe {
		return u.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Unsubscribe_{
			Unsubscribe: &operationspb.StreamOperationsRequest_Unsubscribe{Subscription: c.id},
		}})
	}
	return u.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Subscribe_{
		Subscribe: &operationspb.StreamOperationsRequest_Subscribe{Subscription: c.id, SessionToken: c.token, Operation: c.key},
	}})
}

func (u operationUpstream) receive() (e upstreamEvent, err error) {
	response, err := u.Recv()
	if err != nil {
		return e, err
	}
	switch event := response.Event.(type) {
	case *operationspb.StreamOperationsResponse_Subscribed_:
		e.subscribed = event.Subscribed.Subscription
	case *operationspb.StreamOperationsResponse_Ended_:
		e.ended, e.endReason = event.Ended.Subscription, event.Ended.Reason
	case *operationspb.StreamOperationsResponse_Changed_:
		e.recipients = event.Changed.Subscriptions
		e.frame, _, e.invalid = operationFrame(event.Changed.Operation)
	case *operationspb.StreamOperationsResponse_Gap_:
		e.gap = true
	}
	return e, nil
}
