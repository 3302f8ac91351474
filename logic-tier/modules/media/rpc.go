package media

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

type service struct {
	mediapb.UnimplementedMediaServer
	module *Module
}

func (s service) CreateUpload(ctx context.Context, r *mediapb.CreateUploadRequest) (*mediapb.CreateUploadResponse, error) {
	p, err := principalFrom(ctx)
	if err != nil {
		return nil, err
	}
	u := upload{account: p.account, size: r.GetSize(), fileName: r.FileName, contentType: r.ContentType}
	if p.module {
		u.account = r.AccountId
	}
	if r.Sha256 != "" {
		if u.expectedSHA256, err = hex.DecodeString(strings.ToLower(r.Sha256)); err != nil {
			return nil, err
		}
	}
	if u, err = s.module.createUpload(ctx, u, p.module, r.RequestId); err != nil {
		return nil, err
	}
	return &mediapb.CreateUploadResponse{Upload: u.message()}, nil
}

func (s service) GetUpload(ctx context.Context, r *mediapb.GetUploadRequest) (*mediapb.GetUploadResponse, error) {
	u, err := s.module.authorizedUpload(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	message := u.message()
	if p, err := principalFrom(ctx); err == nil && p.module {
		message.AccountId = u.account // for modules only
	}
	return &mediapb.GetUploadResponse{Upload: message}, nil
}

func (s service) CompleteUpload(ctx context.Context, r *mediapb.CompleteUploadRequest) (*mediapb.CompleteUploadResponse, error) {
	u, err := s.module.authorizedUpload(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	if u, err = s.module.completeUpload(ctx, u, r.Size); err != nil {
		return nil, err
	}
	return &mediapb.CompleteUploadResponse{Upload: u.message()}, nil
}

func (s service) DeleteUpload(ctx context.Context, r *mediapb.DeleteUploadRequest) (*mediapb.DeleteUploadResponse, error) {
	u, err := s.module.authorizedUpload(ctx, r.Name)
	switch {
	case errors.Is(err, errNoUpload): // deleted already, or never accessible
	case err != nil:
		return nil, err
	default:
		if err := s.module.store.deleteUpload(ctx, s.module.deps.DB, u.id); err != nil {
			return nil, err
		}
	}
	return &mediapb.DeleteUploadResponse{}, nil
}

func (s service) GetRecording(ctx context.Context, r *mediapb.GetRecordingRequest) (*mediapb.GetRecordingResponse, error) {
	id, err := parseRecording(r.Name)
	if err != nil {
		return nil, err
	}
	recording, err := s.module.store.recording(ctx, id)
	if err != nil {
		return nil, err
	}
	return &mediapb.GetRecordingResponse{Recording: recording.message()}, nil
}

func (s service) GetFile(ctx context.Context, r *mediapb.GetFileRequest) (*mediapb.GetFileResponse, error) {
	f, err := s.module.authorizedFile(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	return &mediapb.GetFileResponse{File: f.message()}, nil
}

func (s service) ProcessRecording(ctx context.Context, r *mediapb.ProcessRecordingRequest) (*longrunningpb.Operation, error) {
	return s.module.processRecording(ctx, r)
}
