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

// media is the neighbour that processes recordings: it is asked, and no more.
type media struct {
	mediapb.MediaClient
	mu    sync.Mutex
	asked []*mediapb.ProcessRecordingRequest
}

func (m *media) ProcessRecording(_ context.Context, r *mediapb.ProcessRecordingRequest, _ ...grpc.CallOption) (*longrunningpb.Operation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, r)
	return &longrunningpb.Operation{Name: "operations/of-" + r.Upload}, nil
}

// work is the neighbour that keeps handles: it is told how they end.
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

// ends waits until so many operations were said to have ended, and returns them.
func (w *work) ends(t *testing.T, n int) []*operationspb.FinishOperationRequest {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		all := w.finished
		w.mu.Unlock()
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d operations end, want %d", len(all), n)
		}
	}
}

type handles struct{ longrunningpb.OperationsClient }

func (handles) GetOperation(_ context.Context, r *longrunningpb.GetOperationRequest, _ ...grpc.CallOption) (*longrunningpb.Operation, error) {
	return &longrunningpb.Operation{Name: r.Name}, nil
}

// consume works the module's queue until the end of the test.
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

// ready says that a recording is ready, as the media module does.
func (s *site) ready(t *testing.T, recording, requestID string) {
	t.Helper()
	err := s.outside.InTransaction(t.Context(), func(tx *postgres.Tx) error {
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

const form = "5f0c6a1e-0000-4000-8000-000000000001"

func (s *site) publishRecording(t *testing.T, channel, requestID string) (*longrunningpb.Operation, error) {
	t.Helper()
	return s.talks.PublishRecording(as(t, ada), &talkspb.PublishRecordingRequest{
		Parent: channel, Talk: &talkspb.Talk{Title: "On looms", Tags: []string{"History"}}, Upload: "uploads/u", RequestId: requestID,
	})
}

// The talk is out when its recording is, once, however often that is said.
func TestATalkWaitsForItsRecording(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.consume(t)
	channel := s.channel(t, ada, "looms")
	first, err := s.publishRecording(t, channel, form)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.publishRecording(t, channel, form)
	if err != nil || again.Name != first.Name || len(s.media.asked) != 1 {
		t.Errorf("the same form again: %v, %v, asked %d times", again, err, len(s.media.asked))
	}
	if got := s.list(t, &talkspb.ListTalksRequest{Parent: channel}); len(got.Talks) != 0 || s.said(t) != 0 {
		t.Errorf("before it is ready, %v is out", got.Talks)
	}
	s.ready(t, "recordings/r", form)
	s.ready(t, "recordings/r", form)
	for _, end := range s.work.ends(t, 2) {
		answer := &talkspb.PublishRecordingResponse{}
		if err := end.GetResponse().UnmarshalTo(answer); err != nil || answer.Talk.Name != "channels/looms/talks/on-looms" {
			t.Errorf("it ends with %v, %v", answer, err)
		}
	}
	got, err := s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: "channels/looms/talks/on-looms"})
	if err != nil || got.Talk.Recording != "recordings/r" || got.Talk.Duration.AsDuration() != 90*time.Second || got.Talk.Tags[0] != "history" {
		t.Errorf("published is %v, %v", got, err)
	}
	if n := s.said(t); n != 1 {
		t.Errorf("its followers are told %d times", n)
	}
	s.countsAreRight(t)
}

// What is wrong with a talk is said while who typed it is there.
func TestATalkThatCannotBeIsNotProcessed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, grace, "looms")
	_, err := s.publishRecording(t, channel, form)
	wants(t, err, "NOT_CHANNEL_OWNER")
	_, err = s.publishRecording(t, "channels/nowhere", form)
	wants(t, err, "CHANNEL_NOT_FOUND")
	own := s.channel(t, ada, "engines")
	_, err = s.talks.PublishRecording(as(t, ada), &talkspb.PublishRecordingRequest{Parent: own, Talk: &talkspb.Talk{}, Upload: "uploads/u", RequestId: form})
	wantsField(t, err, "talk.title")
	if len(s.media.asked) != 0 {
		t.Errorf("asked to process %v", s.media.asked)
	}
}

// A recording that nobody waits for any more is given back.
func TestARecordingWithoutATalkIsGivenBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.broker.Declare(t.Context(), talks.Topology(), queue.Topology{
		Queues: []queue.Queue{{Name: "withdrawn", Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.withdrawn"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s.consume(t)
	s.ready(t, "recordings/r", form)
	if end := s.work.ends(t, 1)[0]; end.GetError() == nil {
		t.Errorf("it ends with %v", end)
	}
	var n int
	if err := s.admin.QueryRow(`select count(*) from queue.message where type = 'talk.withdrawn'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("it is given back %d times, %v", n, err)
	}
}

// A talk that is withdrawn gives its recording back with it.
func TestAWithdrawnTalkGivesItsRecordingBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.consume(t)
	channel := s.channel(t, ada, "looms")
	if _, err := s.publishRecording(t, channel, form); err != nil {
		t.Fatal(err)
	}
	s.ready(t, "recordings/r", form)
	s.work.ends(t, 1)
	if err := s.broker.Declare(t.Context(), queue.Topology{
		Queues: []queue.Queue{{Name: "withdrawn", Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.withdrawn"}}}},
	}); err != nil {
		t.Fatal(err)
	}
	heard := make(chan []byte, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_ = s.broker.Consume(ctx, queue.Consumer{Queue: "withdrawn", Handle: func(_ context.Context, d queue.Delivery) error {
			heard <- d.Body
			return nil
		}})
	}()
	if _, err := s.talks.WithdrawTalk(as(t, ada), &talkspb.WithdrawTalkRequest{Name: channel + "/talks/on-looms"}); err != nil {
		t.Fatal(err)
	}
	said := &talkspb.TalkWithdrawn{}
	if err := proto.Unmarshal(<-heard, said); err != nil || said.Talk != channel+"/talks/on-looms" || said.Recording != "recordings/r" {
		t.Errorf("said is %v, %v", said, err)
	}
}

func TestOldDraftsAreSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "looms")
	if _, err := s.publishRecording(t, channel, form); err != nil {
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
		t.Errorf("%d are left, %v", n, err)
	}
}

func TestDraftIsReturnedToItsSender(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "looms")
	operation, err := s.publishRecording(t, channel, form)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.talks.GetDraft(as(t, ada), &talkspb.GetDraftRequest{Operation: operation.Name})
	if err != nil || got.Parent != channel || got.Upload != "uploads/u" || got.Talk.GetTitle() != "On looms" || len(got.Talk.GetTags()) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = s.talks.GetDraft(as(t, grace), &talkspb.GetDraftRequest{Operation: operation.Name}) // somebody else's
	wants(t, err, "DRAFT_NOT_FOUND")
	_, err = s.talks.GetDraft(as(t, ada), &talkspb.GetDraftRequest{Operation: "operations/none"})
	wants(t, err, "DRAFT_NOT_FOUND")
}
