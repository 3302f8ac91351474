package talks

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// draft is a talk to publish once its recording has been processed.
type draft struct {
	account   int64
	requestID string
	channelID int64
	talk      []byte // talkspb.Talk
	operation string
	upload    string
}

// publishRecording starts to process a recording; its talk is published when the
// recording is ready. The talk is validated at once, while the user can still correct it.
// publishRecording is idempotent: the same request id returns the same operation.
func (m *Module) publishRecording(ctx context.Context, person caller.Person, slug, requestID, upload string, t talk) (*longrunningpb.Operation, error) {
	t, err := t.normalize()
	if err != nil {
		return nil, err
	}
	c, err := m.store.channel(ctx, slug)
	if err != nil {
		return nil, err
	}
	if !c.ownedBy(person) {
		return nil, errNotOwner
	}
	encoded, err := proto.Marshal(t.message())
	if err != nil {
		return nil, err
	}
	d, err := m.store.addDraft(ctx, draft{account: person.ID, requestID: requestID, channelID: c.id, talk: encoded, upload: upload})
	if err != nil {
		return nil, err
	}
	if d.operation != "" {
		return m.deps.Handles.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: d.operation})
	}
	operation, err := m.deps.Media.ProcessRecording(ctx, &mediapb.ProcessRecordingRequest{
		Upload: upload, AccountId: person.ID, Title: "Recording of “" + t.title + "”", Subject: "channels/" + c.slug, RequestId: requestID,
	})
	if err != nil {
		return nil, err
	}
	return operation, m.store.setDraftOperation(ctx, d, operation.Name)
}

// draftOf returns the talk that the person passed to publishRecording, given the
// operation that it returned.
func (m *Module) draftOf(ctx context.Context, person caller.Person, operation string) (*talkspb.GetDraftResponse, error) {
	d, slug, err := m.store.draftByOperation(ctx, person.ID, operation)
	if err != nil {
		return nil, err
	}
	message := &talkspb.Talk{}
	if err := proto.Unmarshal(d.talk, message); err != nil {
		return nil, err
	}
	return &talkspb.GetDraftResponse{Parent: "channels/" + slug, Talk: message, Upload: d.upload}, nil
}

// errDraftNotFound is returned when the draft has expired or never existed.
var errDraftNotFound = apperror.New(apperror.NotFound, "DRAFT_NOT_FOUND", "this draft has expired; publish the talk again")

// mediaReady publishes the draft of a recording and finishes its operation. It is
// idempotent: a redelivered message finds the published talk.
func (m *Module) mediaReady(ctx context.Context, _ queue.Delivery, ready *mediapb.MediaReady) error {
	finish := &operationspb.FinishOperationRequest{Name: ready.Operation}
	published, err := m.publishReady(ctx, ready)
	var failure *apperror.Failure
	switch {
	case err == nil:
		response, err := anypb.New(&talkspb.PublishRecordingResponse{Talk: published.message()})
		if err != nil {
			return err
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Response{Response: response}
		finish.Step = "Published."
	case errors.As(err, &failure) && failure.Kind != apperror.Unavailable:
		if err := m.releaseRecording(ctx, ready); err != nil {
			return err
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Error{Error: failure.Status().Proto()}
	default:
		return err
	}
	_, err = m.deps.Work.FinishOperation(ctx, finish)
	if status.Code(err) == codes.NotFound {
		return nil // deleted with its account
	}
	return err
}

// publishReady publishes the talk of a recording, or returns it if it is published.
func (m *Module) publishReady(ctx context.Context, ready *mediapb.MediaReady) (published talk, err error) {
	d, err := m.store.draft(ctx, ready.AccountId, ready.RequestId)
	if err != nil {
		return talk{}, err
	}
	message := &talkspb.Talk{}
	if err := proto.Unmarshal(d.talk, message); err != nil {
		return talk{}, err
	}
	t, err := fromMessage(message).normalize()
	if err != nil {
		return talk{}, err
	}
	t.recording = ready.Recording.Name
	if length := ready.Recording.Duration.AsDuration(); length > 0 && length <= maxDuration {
		t.duration = max(length.Round(time.Second), time.Second)
	}
	t.slug = slugOf(t.title)
	for range maxSlugAttempts {
		published, err = m.tryPublishReady(ctx, d, t)
		if !errors.Is(err, errTalkExists) {
			return published, err
		}
		t.slug = strings.TrimSuffix(slugOf(t.title), "-") + "-" + randomSuffix()
	}
	return talk{}, errTalkExists
}

// tryPublishReady publishes a talk with a recording under its slug. It fails with
// errTalkExists if the slug is taken.
func (m *Module) tryPublishReady(ctx context.Context, d draft, t talk) (published talk, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// A concurrent delivery of the same message waits for this lock and then finds the
		// talk.
		if t.channel, err = m.store.lockChannelByID(ctx, tx, d.channelID); err != nil {
			return err
		}
		existing, found, err := m.store.talkOfRecording(ctx, tx, t.recording)
		if err != nil || found {
			published = existing
			return err
		}
		if published, err = m.store.addTalk(ctx, tx, t); err != nil {
			return err
		}
		return m.publishTalkPublished(ctx, tx, published)
	})
	return published, err
}

// releaseRecording publishes talk.withdrawn for a recording that no talk uses, so that
// the media module deletes it.
func (m *Module) releaseRecording(ctx context.Context, ready *mediapb.MediaReady) error {
	return m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		return m.publishTalkWithdrawn(ctx, tx, "", ready.Recording.Name)
	})
}
