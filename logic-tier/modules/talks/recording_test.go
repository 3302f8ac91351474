package talks_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// media is a fake media module. It records the requests.
type media struct {
	mediapb.MediaClient
	mu       sync.Mutex
	requests []*mediapb.ProcessRecordingRequest
}

func (m *media) ProcessRecording(_ context.Context, r *mediapb.ProcessRecordingRequest, _ ...grpc.CallOption) (*longrunningpb.Operation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, r)
	return &longrunningpb.Operation{Name: "operations/of-" + r.Upload}, nil
}

// work is a fake operations module. It records the finished operations.
type work struct {
	operationspb.OperationWorkClient
	mu       sync.Mutex
	finished []*operationspb.FinishOperationRequest
}

func (w *work) FinishOperation(_ context.Context, r *operationspb.FinishOperationRequest, _ ...grpc.CallOption) (*operationspb.FinishOperationResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished = append(w.finished, r)
	return &operationspb.FinishOperationResponse{}, nil
}

// waitFinished waits until n operations have finished and returns their requests.
func (w *work) waitFinished(t *testing.T, n int) []*operationspb.FinishOperationRequest {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		finished := w.finished
		w.mu.Unlock()
		if len(finished) >= n {
			return finished
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d finished operations, want %d", len(finished), n)
		}
	}
}

// handles is a fake operations service that knows every operation.
type handles struct{ longrunningpb.OperationsClient }

func (handles) GetOperation(_ context.Context, r *longrunningpb.GetOperationRequest, _ ...grpc.CallOption) (*longrunningpb.Operation, error) {
	return &longrunningpb.Operation{Name: r.Name}, nil
}

// consume runs the module's consumers until the test ends.
func (s *site) consume(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.broker.Run(ctx) })
	for _, c := range s.module.Consumers() {
		running.Go(func() {
			if err := s.broker.Consume(ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// publishMediaReady publishes media.ready, as the media module does.
func (s *site) publishMediaReady(t *testing.T, recording, requestID string) {
	t.Helper()
	err := s.mediaDB.InTransaction(t.Context(), func(tx *postgres.Tx) error {
		_, err := s.broker.Publish(t.Context(), tx, queue.Message{
			Exchange: "media", RoutingKey: "media.ready", Type: "media.ready",
			Body: &mediapb.MediaReady{
				Recording: &mediapb.Recording{Name: recording, Duration: durationpb.New(89700 * time.Millisecond)},
				AccountId: ada.ID, Operation: "operations/of-" + recording, RequestId: requestID,
			},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

const formID = "5f0c6a1e-0000-4000-8000-000000000001"

func (s *site) publishRecording(t *testing.T, channel, requestID string) (*longrunningpb.Operation, error) {
	t.Helper()
	return s.talks.PublishRecording(asPerson(t, ada), &talkspb.PublishRecordingRequest{
		Parent: channel, Talk: &talkspb.Talk{Title: "On looms", Tags: []string{"History"}}, Upload: "uploads/u", RequestId: requestID,
	})
}

// The talk is published once its recording is ready, and only once, even if the message
// is delivered again.
func TestTalkIsPublishedWhenRecordingIsReady(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.consume(t)
	channel := s.createChannel(t, ada, "looms")
	first, err := s.publishRecording(t, channel, formID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.publishRecording(t, channel, formID)
	if err != nil || again.Name != first.Name || len(s.media.requests) != 1 {
		t.Errorf("same request again: got %v, %v and %d media requests; want %v and 1", again, err, len(s.media.requests), first)
	}
	if got := s.list(t, &talkspb.ListTalksRequest{Parent: channel}); len(got.Talks) != 0 || s.publishedCount(t) != 0 {
		t.Errorf("before the recording is ready: got talks %v, want none", got.Talks)
	}
	s.publishMediaReady(t, "recordings/r", formID)
	s.publishMediaReady(t, "recordings/r", formID)
	for _, finish := range s.work.waitFinished(t, 2) {
		response := &talkspb.PublishRecordingResponse{}
		if err := finish.GetResponse().UnmarshalTo(response); err != nil || response.Talk.Name != "channels/looms/talks/on-looms" {
			t.Errorf("got operation response %v, %v", response, err)
		}
	}
	got, err := s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: "channels/looms/talks/on-looms"})
	if err != nil || got.Talk.Recording != "recordings/r" || got.Talk.Duration.AsDuration() != 90*time.Second || got.Talk.Tags[0] != "history" {
		t.Errorf("got talk %v, %v", got, err)
	}
	if n := s.publishedCount(t); n != 1 {
		t.Errorf("got %d talk.published messages, want 1", n)
	}
	s.checkTalkCounts(t)
}

// An invalid talk is rejected at once, before its recording is processed.
func TestPublishRecordingRejectsInvalidTalk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, grace, "looms")
	_, err := s.publishRecording(t, channel, formID)
	wantFailure(t, err, "NOT_CHANNEL_OWNER")
	_, err = s.publishRecording(t, "channels/nowhere", formID)
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
	engines := s.createChannel(t, ada, "engines")
	_, err = s.talks.PublishRecording(asPerson(t, ada), &talkspb.PublishRecordingRequest{Parent: engines, Talk: &talkspb.Talk{}, Upload: "uploads/u", RequestId: formID})
	wantFieldFailure(t, err, "talk.title")
	if len(s.media.requests) != 0 {
		t.Errorf("got media requests %v, want none", s.media.requests)
	}
}

func TestRecordingWithoutDraftIsReleased(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.broker.Declare(t.Context(), talks.Topology(), queue.Topology{
		Queues: []queue.Queue{{Name: "withdrawn", Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.withdrawn"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s.consume(t)
	s.publishMediaReady(t, "recordings/r", formID)
	if finish := s.work.waitFinished(t, 1)[0]; finish.GetError() == nil {
		t.Errorf("got %v, want the operation to fail", finish)
	}
	var n int
	if err := s.admin.QueryRow(`select count(*) from queue.message where type = 'talk.withdrawn'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d talk.withdrawn messages, %v; want 1", n, err)
	}
}

func TestWithdrawnTalkReleasesItsRecording(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.consume(t)
	channel := s.createChannel(t, ada, "looms")
	if _, err := s.publishRecording(t, channel, formID); err != nil {
		t.Fatal(err)
	}
	s.publishMediaReady(t, "recordings/r", formID)
	s.work.waitFinished(t, 1)
	if err := s.broker.Declare(t.Context(), queue.Topology{
		Queues: []queue.Queue{{Name: "withdrawn", Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.withdrawn"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	received := make(chan []byte, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_ = s.broker.Consume(ctx, queue.Consumer{Queue: "withdrawn", Handle: func(_ context.Context, d queue.Delivery) error {
			received <- d.Body
			return nil
		}})
	}()
	if _, err := s.talks.WithdrawTalk(asPerson(t, ada), &talkspb.WithdrawTalkRequest{Name: channel + "/talks/on-looms"}); err != nil {
		t.Fatal(err)
	}
	message := &talkspb.TalkWithdrawn{}
	if err := proto.Unmarshal(<-received, message); err != nil || message.Talk != channel+"/talks/on-looms" || message.Recording != "recordings/r" {
		t.Errorf("got %v, %v", message, err)
	}
}

func TestSweepDeletesExpiredDrafts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "looms")
	if _, err := s.publishRecording(t, channel, formID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.Exec(`update talks.draft set created_at = created_at - interval '9 days 1 second'`); err != nil {
		t.Fatal(err)
	}
	if err := talks.SweepOnce(s.module, t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.admin.QueryRow(`select count(*) from talks.draft`).Scan(&n); err != nil || n != 0 {
		t.Errorf("got %d drafts left, %v; want 0", n, err)
	}
}

func TestDraftIsReturnedToItsSender(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "looms")
	operation, err := s.publishRecording(t, channel, formID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.talks.GetDraft(asPerson(t, ada), &talkspb.GetDraftRequest{Operation: operation.Name})
	if err != nil || got.Parent != channel || got.Upload != "uploads/u" || got.Talk.GetTitle() != "On looms" || len(got.Talk.GetTags()) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = s.talks.GetDraft(asPerson(t, grace), &talkspb.GetDraftRequest{Operation: operation.Name}) // of another account
	wantFailure(t, err, "DRAFT_NOT_FOUND")
	_, err = s.talks.GetDraft(asPerson(t, ada), &talkspb.GetDraftRequest{Operation: "operations/none"})
	wantFailure(t, err, "DRAFT_NOT_FOUND")
}
