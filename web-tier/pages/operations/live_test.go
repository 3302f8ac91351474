package operations_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/live"
	"techtalks.example/web-tier/platform/logictest"
)

// fakeOperation stands in for one operation in the logic tier.
type fakeOperation struct {
	mu            sync.Mutex
	operation     *longrunningpb.Operation
	subscriptions map[uint64]bool
	stream        grpc.ServerStream // the latest; nil before the first
}

// serve serves StreamOperations.
func (s *fakeOperation) serve(stream grpc.ServerStream) error {
	for {
		r := &operationspb.StreamOperationsRequest{}
		if err := stream.RecvMsg(r); err != nil {
			return err
		}
		s.mu.Lock()
		s.stream = stream
		if subscribe := r.GetSubscribe(); subscribe != nil {
			s.subscriptions[subscribe.Subscription] = true
			_ = stream.SendMsg(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Subscribed_{
				Subscribed: &operationspb.StreamOperationsResponse_Subscribed{Subscription: subscribe.Subscription}}})
		} else {
			delete(s.subscriptions, r.GetUnsubscribe().Subscription)
		}
		s.mu.Unlock()
	}
}

// update replaces the operation and notifies its subscribers.
func (s *fakeOperation) update(op *longrunningpb.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operation = op
	changed := &operationspb.StreamOperationsResponse_Changed{Operation: op}
	for subscription := range s.subscriptions {
		changed.Subscriptions = append(changed.Subscriptions, subscription)
	}
	if s.stream != nil {
		_ = s.stream.SendMsg(&operationspb.StreamOperationsResponse{Event: &operationspb.StreamOperationsResponse_Changed_{Changed: changed}})
	}
}

func (s *fakeOperation) subscribers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subscriptions)
}

// openLive opens the pages and the event stream of an operation.
func openLive(t *testing.T, op *longrunningpb.Operation) (*pagetest.Browser, *fakeOperation) {
	t.Helper()
	var feed *live.Feed
	ready := make(chan struct{})
	routes := map[string]ui.Handler{
		"GET /operations/{operation}/stream": func(v *ui.PageContext) error {
			<-ready
			feed.Stream(v.Writer, v.Request, v.Site.Session(v.Request), "operations/"+v.Request.PathValue("operation"))
			return nil
		},
	}
	for pattern, handle := range handlers {
		routes[pattern] = handle
	}
	b := pagetest.Open(t, false, routes).With(logictest.Session)
	s := &fakeOperation{operation: op, subscriptions: map[uint64]bool{}}
	logictest.Answer(b.Logic, get, func(context.Context, *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.operation, nil
	})
	b.Logic.Stream(operationspb.OperationStreams_StreamOperations_FullMethodName, s.serve)
	feed = live.NewOperations(b.Logic.Logic.Operations, b.Logic.Logic.OperationStreams, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = feed.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-stopped })
	close(ready)
	return b, s
}

// progressed returns a running operation with the given progress.
func progressed(t *testing.T, cursor string, done int64, percent int32, steps ...string) *longrunningpb.Operation {
	m := &operationspb.OperationMetadata{
		Kind: "recording", Title: "Recording of “On looms”", State: operationspb.OperationMetadata_STATE_RUNNING, Cursor: cursor,
		DoneCount: done, TotalCount: 4_000_000, Unit: "bytes", Percent: percent, EstimatedEndTime: timestamppb.New(time.Now().Add(10 * time.Minute)),
	}
	for _, text := range steps {
		m.Steps = append(m.Steps, &operationspb.OperationMetadata_Step{Time: timestamppb.Now(), Text: text})
	}
	return operation(t, m)
}

// Events update the page in place. When the operation finishes, the page reloads once
// to show the result.
func TestOperationPageUpdatesLive(t *testing.T) {
	b, s := openLive(t, progressed(t, "epoch-1", 1_000_000, 25, "First."))
	tab := b.Tab()
	tab.Open("/operations/abc")
	tab.Run("window.loadedOnce = true")
	for deadline := time.Now().Add(20 * time.Second); s.subscribers() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting for the subscription")
		}
	}
	s.update(progressed(t, "epoch-2", 3_000_000, 75, "First.", "Second."))
	tab.Until(`document.querySelector("[data-percent]").textContent === "75 %"`)
	tab.Until(`window.loadedOnce && document.querySelector("progress").value === 75`)
	tab.Until(`document.querySelector("[data-amount]").textContent === "3.0 MB of 4.0 MB"`)
	tab.Until(`document.querySelectorAll("#steps li").length === 2 && document.querySelector("#steps li:last-child span").textContent === "Second."`)
	tab.Until(`document.querySelector("[data-left]").textContent === "about 10 min left"`)
	tab.Screenshot("operation-running")
	done := succeeded(t, "recording", &talkspb.PublishRecordingResponse{Talk: &talkspb.Talk{Name: "channels/go/talks/on-looms"}})
	m := &operationspb.OperationMetadata{}
	_ = done.Metadata.UnmarshalTo(m)
	m.Cursor = "epoch-3"
	done.Metadata = pack(t, m)
	s.update(done)
	tab.Until(`!window.loadedOnce && document.querySelector("a[href='/channels/go/talks/on-looms']")`)
	tab.Screenshot("operation-done")
}

func TestOperationPageRefreshesWithoutJavaScript(t *testing.T) {
	b, s := openLive(t, progressed(t, "epoch-1", 1_000_000, 25, "First."))
	tab := b.Tab().WithoutScripts()
	tab.Open("/operations/abc")
	tab.Until(`document.querySelector("progress").value === 25`)
	tab.Screenshot("operation-without-javascript")
	s.update(failed(t))
	tab.Until(`document.body.textContent.includes("The file is not a <video>")`)
	tab.Screenshot("operation-failed")
}
