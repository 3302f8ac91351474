package logictest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/proto/transport"
)

// maxChunk is the maximum size of a chunk in the contract.
const maxChunk = 256 << 10

// UpdateTime is the update time of every file.
var UpdateTime = time.Unix(1_700_000_000, 0).UTC()

// Media is a fake of the logic tier's media service that stores bytes in memory.
type Media struct {
	mu      sync.Mutex
	uploads map[string]*upload
	files   map[string]*mediapb.File
	content map[string][]byte
	reads   []*mediapb.ReadFileRequest
	created int // uploads so far

	appendErr    error // fails all appends if set
	readFailures int   // reads still to fail midway, as if the tier restarted
}

type upload struct {
	*mediapb.Upload
	appender   grpc.ServerStream // the most recent stream that appends
	session    string            // of the owner
	wantSHA256 string
	bytes      []byte
}

// ServeMedia registers a fake media service with t.
func ServeMedia(t *Tier) *Media {
	m := &Media{uploads: map[string]*upload{}, files: map[string]*mediapb.File{}, content: map[string][]byte{}}
	Answer(t, mediapb.Media_CreateUpload_FullMethodName, m.create)
	Answer(t, mediapb.Media_GetUpload_FullMethodName, func(ctx context.Context, r *mediapb.GetUploadRequest) (*mediapb.GetUploadResponse, error) {
		u, err := m.upload(ctx, r.Name)
		return &mediapb.GetUploadResponse{Upload: u}, err
	})
	Answer(t, mediapb.Media_CompleteUpload_FullMethodName, m.complete)
	Answer(t, mediapb.Media_DeleteUpload_FullMethodName, func(ctx context.Context, r *mediapb.DeleteUploadRequest) (*mediapb.DeleteUploadResponse, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.uploads, r.Name)
		return &mediapb.DeleteUploadResponse{}, nil
	})
	Answer(t, mediapb.Media_GetFile_FullMethodName, func(_ context.Context, r *mediapb.GetFileRequest) (*mediapb.GetFileResponse, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if file := m.files[r.Name]; file != nil {
			return &mediapb.GetFileResponse{File: file}, nil
		}
		return nil, Refusal(codes.NotFound, "FILE_NOT_FOUND", "there is no such file")
	})
	t.Stream(mediapb.Media_AppendUpload_FullMethodName, m.append)
	t.Stream(mediapb.Media_ReadFile_FullMethodName, m.read)
	return m
}

// Add adds a file.
func (m *Media) Add(name, contentType, fileName string, content []byte) *mediapb.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := sha256.Sum256(content)
	m.content[name] = content
	m.files[name] = &mediapb.File{
		Name: name, Size: int64(len(content)), ContentType: contentType, Sha256: hex.EncodeToString(sum[:]),
		FileName: fileName, UpdateTime: timestamppb.New(UpdateTime),
	}
	return m.files[name]
}

// FailAppends makes all appends to uploads fail with err.
func (m *Media) FailAppends(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appendErr = err
}

// BreakReads makes the next n reads of files fail with Unavailable after up to 1000 bytes.
func (m *Media) BreakReads(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readFailures = n
}

// Upload returns an upload and its bytes, or nil if it does not exist.
func (m *Media) Upload(name string) (*mediapb.Upload, []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.uploads[name]
	if u == nil {
		return nil, nil
	}
	return proto.CloneOf(u.Upload), bytes.Clone(u.bytes)
}

// UploadCount returns the number of uploads.
func (m *Media) UploadCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

// Reads returns all read requests so far.
func (m *Media) Reads() []*mediapb.ReadFileRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*mediapb.ReadFileRequest(nil), m.reads...)
}

func (m *Media) create(ctx context.Context, r *mediapb.CreateUploadRequest) (*mediapb.CreateUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.created++
	u := &upload{session: metadataValue(ctx, transport.SessionKey), wantSHA256: r.Sha256, Upload: &mediapb.Upload{
		Name: fmt.Sprintf("uploads/upload%d", m.created), Size: r.Size, FileName: r.FileName, ContentType: r.ContentType,
		ExpireTime: timestamppb.New(UpdateTime.Add(7 * 24 * time.Hour)),
	}}
	m.uploads[u.Name] = u
	return &mediapb.CreateUploadResponse{Upload: proto.CloneOf(u.Upload)}, nil
}

func (m *Media) find(ctx context.Context, name string) (*upload, error) {
	u := m.uploads[name]
	if u == nil || u.session != metadataValue(ctx, transport.SessionKey) {
		return nil, Refusal(codes.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload in your account")
	}
	return u, nil
}

func (m *Media) upload(ctx context.Context, name string) (*mediapb.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(u.Upload), nil
}

func (m *Media) complete(ctx context.Context, r *mediapb.CompleteUploadRequest) (*mediapb.CompleteUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.find(ctx, r.Name)
	switch {
	case err != nil:
		return nil, err
	case u.Offset != r.Size:
		return nil, Refusal(codes.Aborted, "OFFSET_MISMATCH", "the offset is not the upload's size")
	}
	return &mediapb.CompleteUploadResponse{Upload: proto.CloneOf(u.Upload)}, m.finish(u)
}

// finish marks an upload as whole after verifying its checksum.
func (m *Media) finish(u *upload) error {
	sum := sha256.Sum256(u.bytes)
	u.Whole, u.Sha256 = true, hex.EncodeToString(sum[:])
	if u.wantSHA256 != "" && u.wantSHA256 != u.Sha256 {
		delete(m.uploads, u.Name)
		return Refusal(codes.InvalidArgument, "CHECKSUM_MISMATCH", "the file does not match its checksum; upload it again")
	}
	return nil
}

func (m *Media) append(stream grpc.ServerStream) error {
	var u *upload
	for first := true; ; first = false {
		r := &mediapb.AppendUploadRequest{}
		err := stream.RecvMsg(r)
		if errors.Is(err, io.EOF) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return stream.SendMsg(&mediapb.AppendUploadResponse{Upload: proto.CloneOf(u.Upload)})
		}
		if err != nil {
			return err
		}
		m.mu.Lock()
		if first {
			if u, err = m.begin(stream.Context(), r); err == nil {
				u.appender = stream
			}
		} else if u.appender != stream {
			err = Refusal(codes.Aborted, "UPLOAD_SUPERSEDED", "a newer request appends to the upload")
		}
		if err == nil {
			err = m.add(u, r.Data)
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (m *Media) begin(ctx context.Context, r *mediapb.AppendUploadRequest) (*upload, error) {
	u, err := m.find(ctx, r.Name)
	if err == nil && u.Offset != r.Offset {
		err = Refusal(codes.Aborted, "OFFSET_MISMATCH", "the offset is not the upload's size")
	}
	return u, err
}

func (m *Media) add(u *upload, data []byte) error {
	switch {
	case m.appendErr != nil:
		return m.appendErr
	case len(data) > maxChunk:
		return Refusal(codes.InvalidArgument, "PIECE_TOO_LARGE", "send at most 256 KiB at a time")
	case u.Size != nil && u.Offset+int64(len(data)) > *u.Size:
		return Refusal(codes.InvalidArgument, "UPLOAD_TOO_LONG", "there are more bytes than the size of the upload")
	}
	u.bytes = append(u.bytes, data...)
	u.Offset = int64(len(u.bytes))
	if u.Size != nil && u.Offset == *u.Size && !u.Whole {
		return m.finish(u)
	}
	return nil
}

func (m *Media) read(stream grpc.ServerStream) error {
	r := &mediapb.ReadFileRequest{}
	if err := stream.RecvMsg(r); err != nil {
		return err
	}
	m.mu.Lock()
	m.reads = append(m.reads, r)
	content, found := m.content[r.Name]
	fail := m.readFailures > 0
	if fail {
		m.readFailures--
	}
	m.mu.Unlock()
	if !found {
		return Refusal(codes.NotFound, "FILE_NOT_FOUND", "there is no such file")
	}
	rest := content[r.Offset:]
	if r.Limit > 0 && r.Limit < int64(len(rest)) {
		rest = rest[:r.Limit]
	}
	for len(rest) > 0 {
		n := min(maxChunk, len(rest))
		if fail {
			n = min(1000, n)
		}
		if err := stream.SendMsg(&mediapb.ReadFileResponse{Data: rest[:n]}); err != nil {
			return err
		}
		if rest = rest[n:]; fail {
			return Refusal(codes.Unavailable, "DRAINING", "the server is stopping")
		}
	}
	return nil
}
