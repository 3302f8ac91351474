package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

var errIncomplete = apperror.New(apperror.Invalid, "UPLOAD_INCOMPLETE", "the upload does not have all its bytes yet; upload the rest first")

// beginRecording begins the making of a recording of an upload. At any time one
// request asks for that: others get the same operation, until it ended without
// a recording.
func (m *Module) beginRecording(ctx context.Context, r *mediapb.ProcessRecordingRequest) (*longrunningpb.Operation, error) {
	id, err := parseUpload(r.Upload)
	if err != nil {
		return nil, err
	}
	asked, made, err := m.askedBefore(ctx, id, r.AccountId)
	if err != nil {
		return nil, err
	}
	if asked != "" {
		operation, err := m.operationFor(ctx, id, asked, r)
		if err != nil || made || asked == r.RequestId || operation.GetError() == nil {
			return operation, err
		}
	}
	if err := m.store.replaceRequest(ctx, id, asked, r.RequestId); err != nil {
		return nil, err
	}
	// Another request may have been quicker: what it asked for counts.
	if asked, made, err = m.askedBefore(ctx, id, r.AccountId); err != nil {
		return nil, err
	}
	if !made {
		if _, err := m.store.touchUpload(ctx, m.needs.DB, id); err != nil {
			return nil, err
		}
	}
	return m.operationFor(ctx, id, asked, r)
}

// askedBefore returns the request that asks for a recording of an upload, empty
// for none, and whether the recording is made.
func (m *Module) askedBefore(ctx context.Context, id string, account int64) (request string, made bool, err error) {
	u, err := m.store.upload(ctx, id)
	if errors.Is(err, errNoUpload) {
		r, found, err := m.store.recordingOf(ctx, id)
		if err == nil && (!found || r.account != account) {
			err = errNoUpload
		}
		return r.request, true, err
	}
	switch {
	case err != nil:
		return "", false, err
	case u.account != account:
		return "", false, errNoUpload
	case !u.file.whole():
		return "", false, errIncomplete
	}
	return u.request, false, nil
}

// operationFor returns the operation of a request for a recording of an upload,
// which it makes when it is not there.
func (m *Module) operationFor(ctx context.Context, id, request string, r *mediapb.ProcessRecordingRequest) (*longrunningpb.Operation, error) {
	input, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	// A request's own id may be as long as an operation's, and stand for something
	// else of the account's.
	digest := sha256.Sum256([]byte(id + " " + request))
	answer, err := m.needs.Operations.CreateOperation(ctx, &operationspb.CreateOperationRequest{
		AccountId: r.AccountId, Kind: kind, Title: r.Title, Subject: r.Subject,
		RequestId: kind + "-" + hex.EncodeToString(digest[:16]), Input: input,
	})
	return answer.GetOperation(), err
}
