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

var errIncomplete = apperror.New(apperror.Invalid, "UPLOAD_INCOMPLETE", "the upload is incomplete: upload the rest first")

// processRecording starts the transcode of an upload and returns its operation. An upload
// has one current request. Other requests get the operation of the current one, until that
// operation has failed; the next request then replaces it.
func (m *Module) processRecording(ctx context.Context, r *mediapb.ProcessRecordingRequest) (*longrunningpb.Operation, error) {
	id, err := parseUpload(r.Upload)
	if err != nil {
		return nil, err
	}
	current, published, err := m.currentRequest(ctx, id, r.AccountId)
	if err != nil {
		return nil, err
	}
	if current != "" {
		operation, err := m.operationFor(ctx, id, current, r)
		if err != nil || published || current == r.RequestId || operation.GetError() == nil {
			return operation, err
		}
	}
	if err := m.store.replaceRequest(ctx, id, current, r.RequestId); err != nil {
		return nil, err
	}
	// Read it again: a concurrent call may have replaced it first, and then wins.
	if current, published, err = m.currentRequest(ctx, id, r.AccountId); err != nil {
		return nil, err
	}
	if !published {
		if _, err := m.store.renewUpload(ctx, m.deps.DB, id); err != nil {
			return nil, err
		}
	}
	return m.operationFor(ctx, id, current, r)
}

// currentRequest returns the request that processes an upload, empty for none, and whether
// its recording is published. It fails if the upload does not belong to the account or is
// incomplete.
func (m *Module) currentRequest(ctx context.Context, id string, account int64) (request string, published bool, err error) {
	u, err := m.store.upload(ctx, id)
	if errors.Is(err, errNoUpload) {
		r, found, err := m.store.recordingByUpload(ctx, id)
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
	case !u.file.complete():
		return "", false, errIncomplete
	}
	return u.request, false, nil
}

// operationFor returns the operation of a request to process an upload. It creates the
// operation if there is none.
func (m *Module) operationFor(ctx context.Context, id, request string, r *mediapb.ProcessRecordingRequest) (*longrunningpb.Operation, error) {
	input, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	// Hash the request's id: it can be as long as an operation's request id itself, and the
	// account may have used it for another operation.
	digest := sha256.Sum256([]byte(id + " " + request))
	response, err := m.deps.Operations.CreateOperation(ctx, &operationspb.CreateOperationRequest{
		AccountId: r.AccountId, Kind: kind, Title: r.Title, Subject: r.Subject,
		RequestId: kind + "-" + hex.EncodeToString(digest[:16]), Input: input,
	})
	return response.GetOperation(), err
}
