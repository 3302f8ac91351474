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

// draft is a talk that waits for its recording.
type draft struct {
	account   int64
	requestID string
	channelID int64
	talk      []byte // talkspb.Talk
	operation string
	upload    string
}

// publishRecording has a talk published when its recording is processed. What is
// wrong with the talk is said now, while who typed it is there. The same request
// again finds the same operation.
func (m *Module) publishRecording(ctx context.Context, person caller.Person, slug, requestID, upload string, t talk) (*longrunningpb.Operation, error) {
	t, err := t.normal()
	if err != nil {
		return nil, err
	}
	on, err := m.store.channel(ctx, slug)
	if err != nil {
		return nil, err
	}
	if !on.ownedBy(person) {
		return nil, errNotOwner
	}
	typed, err := proto.Marshal(t.message())
	if err != nil {
		return nil, err
	}
	kept, err := m.store.keepDraft(ctx, draft{account: person.ID, requestID: requestID, channelID: on.id, talk: typed, upload: upload})
	if err != nil {
		return nil, err
	}
	if kept.operation != "" {
		return m.needs.Handles.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: kept.operation})
	}
	operation, err := m.needs.Media.ProcessRecording(ctx, &mediapb.ProcessRecordingRequest{
		Upload: upload, AccountId: person.ID, Title: "Recording of “" + t.title + "”", Subject: "channels/" + on.slug, RequestId: requestID,
	})
	if err != nil {
		return nil, err
	}
	return operation, m.store.draftOperation(ctx, kept, operation.Name)
}

// sentDraft returns what the person sent to publishRecording, by the operation that it
// returned.
func (m *Module) sentDraft(ctx context.Context, person caller.Person, operation string) (*talkspb.GetDraftResponse, error) {
	d, slug, err := m.store.draftOf(ctx, person.ID, operation)
	if err != nil {
		return nil, err
	}
	typed := &talkspb.Talk{}
	if err := proto.Unmarshal(d.talk, typed); err != nil {
		return nil, err
	}
	return &talkspb.GetDraftResponse{Parent: "channels/" + slug, Talk: typed, Upload: d.upload}, nil
}

// errDraftGone: the talk waited longer than drafts are kept.
var errDraftGone = apperror.New(apperror.NotFound, "DRAFT_NOT_FOUND", "what you typed is no longer kept; publish the talk again")

// mediaReady publishes the talk that waited for a recording, and finishes the
// operation. Said twice, the second time finds the talk.
func (m *Module) mediaReady(ctx context.Context, _ queue.Delivery, ready *mediapb.MediaReady) error {
	finish := &operationspb.FinishOperationRequest{Name: ready.Operation}
	made, err := m.publishReady(ctx, ready)
	var refused *apperror.Failure
	switch {
	case err == nil:
		response, err := anypb.New(&talkspb.PublishRecordingResponse{Talk: made.message()})
		if err != nil {
			return err
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Response{Response: response}
		finish.Step = "Published."
	case errors.As(err, &refused) && refused.Kind != apperror.Unavailable:
		if err := m.giveUp(ctx, ready); err != nil {
			return err
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Error{Error: refused.Status().Proto()}
	default:
		return err
	}
	_, err = m.needs.Work.FinishOperation(ctx, finish)
	if status.Code(err) == codes.NotFound {
		return nil // it went with its account
	}
	return err
}

// publishReady makes the talk of a recording public, or finds it.
func (m *Module) publishReady(ctx context.Context, ready *mediapb.MediaReady) (made talk, err error) {
	waiting, err := m.store.draft(ctx, ready.AccountId, ready.RequestId)
	if err != nil {
		return talk{}, err
	}
	typed := &talkspb.Talk{}
	if err := proto.Unmarshal(waiting.talk, typed); err != nil {
		return talk{}, err
	}
	t, err := fromMessage(typed).normal()
	if err != nil {
		return talk{}, err
	}
	t.recording = ready.Recording.Name
	if length := ready.Recording.Duration.AsDuration(); length > 0 && length <= longest {
		t.duration = max(length.Round(time.Second), time.Second)
	}
	t.slug = slugOf(t.title)
	for range tries {
		made, err = m.publishReadyAs(ctx, waiting, t)
		if !errors.Is(err, errNameTaken) {
			return made, err
		}
		t.slug = strings.TrimSuffix(slugOf(t.title), "-") + "-" + chance()
	}
	return talk{}, errNameTaken
}

func (m *Module) publishReadyAs(ctx context.Context, waiting draft, t talk) (made talk, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// Locked, so that a second delivery of the message waits, and finds it.
		if t.channel, err = m.store.lockChannelByID(ctx, tx, waiting.channelID); err != nil {
			return err
		}
		before, found, err := m.store.recorded(ctx, tx, t.recording)
		if err != nil || found {
			made = before
			return err
		}
		if made, err = m.store.addTalk(ctx, tx, t); err != nil {
			return err
		}
		return m.sayPublished(ctx, tx, made)
	})
	return made, err
}

// giveUp says that nobody needs a recording.
func (m *Module) giveUp(ctx context.Context, ready *mediapb.MediaReady) error {
	return m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		return m.sayWithdrawn(ctx, tx, "", ready.Recording.Name)
	})
}
