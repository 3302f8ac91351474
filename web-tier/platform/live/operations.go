package live

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // in an operation's error
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	_ "techtalks.example/proto/techtalks/media/v1" // in an operation's response, as those below
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	_ "techtalks.example/proto/techtalks/talks/v1"
	_ "techtalks.example/proto/techtalks/transfers/v1"
)

// NewOperations returns a Feed of operations; a key is "operations/{operation}".
// A change is an event "operation" with the whole operation, so that whoever has
// the latest has everything: a cursor that cannot be honoured needs no reset, it
// is answered with the operation as it is. After the change that ends the
// operation nothing comes any more, and every way says so: a short poll is not
// told to ask again, a long poll does not wait, a stream ends.
func NewOperations(client longrunningpb.OperationsClient, streams operationspb.OperationStreamsClient, log *slog.Logger) *Feed {
	return newFeed(operations{client, streams}, log.With("feed", "operations"))
}

// operations is the source of changes of operations.
type operations struct {
	client  longrunningpb.OperationsClient
	streams operationspb.OperationStreamsClient
}

// maxName is the contract's bound of an operation's name.
const maxName = 100

func (operations) takes(key string) bool { return utf8.ValidString(key) && len(key) <= maxName }

func (operations) traits() traits {
	return traits{whole: true, ends: true, signIn: "Sign in to see your operations."}
}

func (o operations) read(ctx context.Context, key, after string) (page, error) {
	operation, err := o.client.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: key})
	if err != nil {
		return page{}, err
	}
	p, err := operationPage(operation)
	if err == nil && after != p.cursor.String() {
		p.frames = []*frame{p.stand}
	}
	return p, err
}

// operationPage is a page without news.
func operationPage(operation *longrunningpb.Operation) (page, error) {
	f, metadata, err := operationFrame(operation)
	if err != nil {
		return page{}, err
	}
	p := page{cursor: f.cursor, stand: f, over: operation.Done, changed: when(metadata.UpdateTime), ends: when(metadata.EstimatedEndTime)}
	return p, nil
}

func operationFrame(operation *longrunningpb.Operation) (*frame, *operationspb.OperationMetadata, error) {
	metadata := &operationspb.OperationMetadata{}
	if err := operation.GetMetadata().UnmarshalTo(metadata); err != nil {
		return nil, nil, fmt.Errorf("the metadata of %s: %w", operation.GetName(), err)
	}
	f, err := newFrame("operation", metadata.Cursor, operation)
	if err != nil {
		// A result of a kind that is newer than this program: how far it is can be
		// told all the same.
		f, err = newFrame("operation", metadata.Cursor, withoutDetails(operation))
	}
	if err != nil {
		return nil, nil, err
	}
	f.last = operation.Done
	return f, metadata, nil
}

// withoutDetails leaves out what only its own program can read.
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

func (operations) body(p page) ([]byte, error) {
	if n := len(p.frames); n > 0 {
		return p.frames[n-1].json, nil
	}
	return p.stand.json, nil
}

// AnswerOperation answers a short poll of GET /operations/{operation} with an
// operation that was read already; see Since.
func AnswerOperation(w http.ResponseWriter, r *http.Request, operation *longrunningpb.Operation) {
	p, err := operationPage(operation)
	if err != nil {
		AnswerProblem(w, r, err)
		return
	}
	answerPoll(w, r, operations{}, p)
}

func (o operations) open(ctx context.Context) (upstream, error) {
	stream, err := o.streams.StreamOperations(ctx)
	return operationStream{stream}, err
}

type operationStream struct {
	operationspb.OperationStreams_StreamOperationsClient
}

func (s operationStream) send(c change) error {
	if c.end {
		return s.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Unsubscribe_{
			Unsubscribe: &operationspb.StreamOperationsRequest_Unsubscribe{Subscription: c.number},
		}})
	}
	return s.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Subscribe_{
		Subscribe: &operationspb.StreamOperationsRequest_Subscribe{Subscription: c.number, SessionToken: c.token, Operation: c.key},
	}})
}

func (s operationStream) receive() (h happened, err error) {
	response, err := s.Recv()
	if err != nil {
		return h, err
	}
	switch event := response.Event.(type) {
	case *operationspb.StreamOperationsResponse_Subscribed_:
		h.subscribed = event.Subscribed.Subscription
	case *operationspb.StreamOperationsResponse_Ended_:
		h.ended, h.reason = event.Ended.Subscription, event.Ended.Reason
	case *operationspb.StreamOperationsResponse_Changed_:
		h.subscriptions = event.Changed.Subscriptions
		h.news, _, h.bad = operationFrame(event.Changed.Operation)
	case *operationspb.StreamOperationsResponse_Gap_:
		h.gap = true
	}
	return h, nil
}
