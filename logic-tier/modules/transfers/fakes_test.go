package transfers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// media keeps files in memory, and does with them what the contract says.
type media struct {
	mediapb.UnimplementedMediaServer

	mu         sync.Mutex
	uploads    map[string]*file
	recordings map[string][]byte // by the last part of their names
	sent       int64             // bytes that came in AppendUpload
	// appended is called after a message's bytes are kept.
	appended func()
	// quota bounds an upload; 0: it has no bound.
	quota int64
}

type file struct {
	is    *mediapb.Upload
	bytes []byte
}

func newMedia() *media { return &media{uploads: map[string]*file{}, recordings: map[string][]byte{}} }

var errNoUpload = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload").Status().Err()

// put makes an upload that is whole.
func (m *media) put(account int64, name string, content []byte) string {
	made, _ := m.CreateUpload(context.Background(), &mediapb.CreateUploadRequest{FileName: name, AccountId: account})
	f := m.uploads[made.Upload.Name]
	f.bytes, f.is.Offset, f.is.Whole = content, int64(len(content)), true
	return f.is.Name
}

func (m *media) content(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.uploads[name]; f != nil {
		return f.bytes
	}
	return nil
}

// on has f called after each message that is appended.
func (m *media) on(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appended = f
}

func (m *media) sentSoFar() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent
}

func (m *media) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

func (m *media) CreateUpload(_ context.Context, r *mediapb.CreateUploadRequest) (*mediapb.CreateUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := &mediapb.Upload{Name: fmt.Sprintf("uploads/%d", len(m.uploads)+1000), FileName: r.FileName, Size: r.Size, AccountId: r.AccountId}
	m.uploads[is.Name] = &file{is: is}
	return &mediapb.CreateUploadResponse{Upload: proto.CloneOf(is)}, nil
}

func (m *media) GetUpload(_ context.Context, r *mediapb.GetUploadRequest) (*mediapb.GetUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.uploads[r.Name]
	if f == nil {
		return nil, errNoUpload
	}
	return &mediapb.GetUploadResponse{Upload: proto.CloneOf(f.is)}, nil
}

func (m *media) AppendUpload(stream grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]) error {
	var f *file
	var at int64
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			m.mu.Lock()
			is := proto.CloneOf(f.is)
			m.mu.Unlock()
			return stream.SendAndClose(&mediapb.AppendUploadResponse{Upload: is})
		}
		if err != nil {
			return err
		}
		m.mu.Lock()
		if f == nil {
			if f = m.uploads[r.Name]; f == nil {
				m.mu.Unlock()
				return errNoUpload
			}
			at = r.Offset
		}
		if at != f.is.Offset {
			m.mu.Unlock()
			return apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "it ends elsewhere").Status().Err()
		}
		if f.is.Whole {
			m.mu.Unlock()
			return apperror.New(apperror.Conflict, "UPLOAD_WHOLE", "nothing more belongs to it").Status().Err()
		}
		f.bytes = append(f.bytes, r.Data...)
		f.is.Offset = int64(len(f.bytes))
		at = f.is.Offset
		m.sent += int64(len(r.Data))
		appended, over := m.appended, m.quota > 0 && f.is.Offset > m.quota
		m.mu.Unlock()
		if over {
			return apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "you keep as much as you may: remove something").Status().Err()
		}
		if appended != nil {
			appended()
		}
	}
}

func (m *media) CompleteUpload(_ context.Context, r *mediapb.CompleteUploadRequest) (*mediapb.CompleteUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.uploads[r.Name]
	switch {
	case f == nil:
		return nil, errNoUpload
	case f.is.Offset != r.Size:
		return nil, apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "it ends elsewhere").Status().Err()
	}
	f.is.Whole = true
	return &mediapb.CompleteUploadResponse{Upload: proto.CloneOf(f.is)}, nil
}

func (m *media) DeleteUpload(_ context.Context, r *mediapb.DeleteUploadRequest) (*mediapb.DeleteUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.uploads, r.Name)
	return &mediapb.DeleteUploadResponse{}, nil
}

func (m *media) GetRecording(_ context.Context, r *mediapb.GetRecordingRequest) (*mediapb.GetRecordingResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, there := m.recordings[strings.TrimPrefix(r.Name, "recordings/")]
	if !there {
		return nil, status.Error(codes.NotFound, "no such recording")
	}
	return &mediapb.GetRecordingResponse{Recording: &mediapb.Recording{Name: r.Name, Renditions: []*mediapb.Recording_Rendition{
		{File: r.Name + "/480p", ContentType: "video/mp4", Size: 1},
		{File: r.Name + "/original", ContentType: "video/webm", Size: int64(len(content))},
	}}}, nil
}

func (m *media) ReadFile(r *mediapb.ReadFileRequest, stream grpc.ServerStreamingServer[mediapb.ReadFileResponse]) error {
	m.mu.Lock()
	var content []byte
	there := false
	if name, isRecording := strings.CutPrefix(r.Name, "recordings/"); isRecording {
		content, there = m.recordings[strings.TrimSuffix(name, "/original")]
	} else if f := m.uploads[r.Name]; f != nil {
		content, there = f.bytes, f.is.Whole
	}
	m.mu.Unlock()
	if !there {
		return status.Error(codes.NotFound, "no such file")
	}
	content = content[r.Offset:]
	if r.Limit > 0 {
		content = content[:min(int64(len(content)), r.Limit)]
	}
	for len(content) > 0 {
		n := min(len(content), 10_007)
		if err := stream.Send(&mediapb.ReadFileResponse{Data: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

// operations records what is said of operations.
type operations struct {
	operationspb.UnimplementedOperationWorkServer

	mu  sync.Mutex
	all map[string]*operation
	// reported is called after a report with a checkpoint.
	reported func()
	// lose says whether a checkpoint is lost, with its worker.
	lose func() bool
}

type operation struct {
	created    *operationspb.CreateOperationRequest
	attempt    int64
	checkpoint []byte
	done       int64
	total      int64
	unit       string
	saved      int
	cancel     chan struct{}
	finished   *operationspb.FinishOperationRequest
}

func (o *operation) cancelled() bool {
	select {
	case <-o.cancel:
		return true
	default:
		return false
	}
}

func newOperations() *operations { return &operations{all: map[string]*operation{}} }

// on has f called after each checkpoint.
func (o *operations) on(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reported = f
}

func (o *operations) of(name string) *operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all[name]
}

func (o *operations) CreateOperation(_ context.Context, r *operationspb.CreateOperationRequest) (*operationspb.CreateOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := "operations/" + r.RequestId
	if is := o.all[name]; is == nil {
		o.all[name] = &operation{created: proto.CloneOf(r), cancel: make(chan struct{})}
	} else if string(is.created.Input) != string(r.Input) {
		return nil, status.Error(codes.AlreadyExists, "other work")
	}
	return &operationspb.CreateOperationResponse{Operation: &longrunningpb.Operation{Name: name}}, nil
}

func (o *operations) ClaimOperation(_ context.Context, r *operationspb.ClaimOperationRequest) (*operationspb.ClaimOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	is := o.all[r.Name]
	if is.finished != nil {
		return &operationspb.ClaimOperationResponse{}, nil
	}
	is.attempt++
	return &operationspb.ClaimOperationResponse{
		Attempt: is.attempt, AccountId: is.created.AccountId, Input: is.created.Input, Checkpoint: is.checkpoint, DoneCount: is.done, TotalCount: is.total,
	}, nil
}

func (o *operations) ReportOperation(_ context.Context, r *operationspb.ReportOperationRequest) (*operationspb.ReportOperationResponse, error) {
	o.mu.Lock()
	is := o.all[r.Name]
	if is.attempt != r.Attempt {
		o.mu.Unlock()
		return &operationspb.ReportOperationResponse{Superseded: true}, nil
	}
	if len(r.Checkpoint) > 0 && o.lose != nil && o.lose() {
		o.mu.Unlock()
		return nil, status.Error(codes.Unavailable, "gone")
	}
	is.done, is.total, is.unit = max(is.done, r.DoneCount), r.TotalCount, r.Unit
	reported := o.reported
	if len(r.Checkpoint) == 0 {
		reported = nil
	} else {
		is.checkpoint = r.Checkpoint
		is.saved++
	}
	o.mu.Unlock()
	if reported != nil {
		reported()
	}
	return &operationspb.ReportOperationResponse{CancelRequested: is.cancelled()}, nil
}

func (o *operations) FinishOperation(_ context.Context, r *operationspb.FinishOperationRequest) (*operationspb.FinishOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	is := o.all[r.Name]
	if is.attempt != r.Attempt {
		return &operationspb.FinishOperationResponse{Superseded: true}, nil
	}
	is.finished = proto.CloneOf(r)
	return &operationspb.FinishOperationResponse{}, nil
}

func (o *operations) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest) (*operationspb.AwaitCancellationResponse, error) {
	select {
	case <-o.of(r.Name).cancel:
		return &operationspb.AwaitCancellationResponse{CancelRequested: true}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
