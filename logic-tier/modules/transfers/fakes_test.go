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

// fakeMedia implements the media module in memory.
type fakeMedia struct {
	mediapb.UnimplementedMediaServer

	mu         sync.Mutex
	uploads    map[string]*file
	recordings map[string][]byte // by the last segment of their names
	sent       int64             // bytes received by AppendUpload
	// appended is called after each message of AppendUpload.
	appended func()
	// quota bounds the size of an upload; 0 for no limit.
	quota int64
}

type file struct {
	upload *mediapb.Upload
	bytes  []byte
}

func newFakeMedia() *fakeMedia {
	return &fakeMedia{uploads: map[string]*file{}, recordings: map[string][]byte{}}
}

var errUploadNotFound = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "upload not found").Status().Err()

// put creates a complete upload.
func (m *fakeMedia) put(account int64, name string, content []byte) string {
	response, _ := m.CreateUpload(context.Background(), &mediapb.CreateUploadRequest{FileName: name, AccountId: account})
	f := m.uploads[response.Upload.Name]
	f.bytes, f.upload.Offset, f.upload.Whole = content, int64(len(content)), true
	return f.upload.Name
}

func (m *fakeMedia) content(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.uploads[name]; f != nil {
		return f.bytes
	}
	return nil
}

// onAppend sets the function called after each message of AppendUpload.
func (m *fakeMedia) onAppend(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appended = f
}

func (m *fakeMedia) sentBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent
}

func (m *fakeMedia) uploadCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

func (m *fakeMedia) CreateUpload(_ context.Context, r *mediapb.CreateUploadRequest) (*mediapb.CreateUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	upload := &mediapb.Upload{Name: fmt.Sprintf("uploads/%d", len(m.uploads)+1000), FileName: r.FileName, Size: r.Size, AccountId: r.AccountId}
	m.uploads[upload.Name] = &file{upload: upload}
	return &mediapb.CreateUploadResponse{Upload: proto.CloneOf(upload)}, nil
}

func (m *fakeMedia) GetUpload(_ context.Context, r *mediapb.GetUploadRequest) (*mediapb.GetUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.uploads[r.Name]
	if f == nil {
		return nil, errUploadNotFound
	}
	return &mediapb.GetUploadResponse{Upload: proto.CloneOf(f.upload)}, nil
}

func (m *fakeMedia) AppendUpload(stream grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]) error {
	var f *file
	var offset int64
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			m.mu.Lock()
			upload := proto.CloneOf(f.upload)
			m.mu.Unlock()
			return stream.SendAndClose(&mediapb.AppendUploadResponse{Upload: upload})
		}
		if err != nil {
			return err
		}
		m.mu.Lock()
		if f == nil {
			if f = m.uploads[r.Name]; f == nil {
				m.mu.Unlock()
				return errUploadNotFound
			}
			offset = r.Offset
		}
		if offset != f.upload.Offset {
			m.mu.Unlock()
			return apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "the upload has another size").Status().Err()
		}
		if f.upload.Whole {
			m.mu.Unlock()
			return apperror.New(apperror.Conflict, "UPLOAD_WHOLE", "the upload is complete").Status().Err()
		}
		f.bytes = append(f.bytes, r.Data...)
		f.upload.Offset = int64(len(f.bytes))
		offset = f.upload.Offset
		m.sent += int64(len(r.Data))
		appended, exceeded := m.appended, m.quota > 0 && f.upload.Offset > m.quota
		m.mu.Unlock()
		if exceeded {
			return apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "storage quota exceeded; delete something").Status().Err()
		}
		if appended != nil {
			appended()
		}
	}
}

func (m *fakeMedia) CompleteUpload(_ context.Context, r *mediapb.CompleteUploadRequest) (*mediapb.CompleteUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.uploads[r.Name]
	switch {
	case f == nil:
		return nil, errUploadNotFound
	case f.upload.Offset != r.Size:
		return nil, apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "the upload has another size").Status().Err()
	}
	f.upload.Whole = true
	return &mediapb.CompleteUploadResponse{Upload: proto.CloneOf(f.upload)}, nil
}

func (m *fakeMedia) DeleteUpload(_ context.Context, r *mediapb.DeleteUploadRequest) (*mediapb.DeleteUploadResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.uploads, r.Name)
	return &mediapb.DeleteUploadResponse{}, nil
}

func (m *fakeMedia) GetRecording(_ context.Context, r *mediapb.GetRecordingRequest) (*mediapb.GetRecordingResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, found := m.recordings[strings.TrimPrefix(r.Name, "recordings/")]
	if !found {
		return nil, status.Error(codes.NotFound, "no such recording")
	}
	return &mediapb.GetRecordingResponse{Recording: &mediapb.Recording{Name: r.Name, Renditions: []*mediapb.Recording_Rendition{
		{File: r.Name + "/480p", ContentType: "video/mp4", Size: 1},
		{File: r.Name + "/original", ContentType: "video/webm", Size: int64(len(content))},
	}}}, nil
}

func (m *fakeMedia) ReadFile(r *mediapb.ReadFileRequest, stream grpc.ServerStreamingServer[mediapb.ReadFileResponse]) error {
	m.mu.Lock()
	var content []byte
	found := false
	if name, isRecording := strings.CutPrefix(r.Name, "recordings/"); isRecording {
		content, found = m.recordings[strings.TrimSuffix(name, "/original")]
	} else if f := m.uploads[r.Name]; f != nil {
		content, found = f.bytes, f.upload.Whole
	}
	m.mu.Unlock()
	if !found {
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

// fakeOperations implements OperationWork in memory.
type fakeOperations struct {
	operationspb.UnimplementedOperationWorkServer

	mu         sync.Mutex
	operations map[string]*fakeOperation // by name
	// checkpointed is called after each saved checkpoint.
	checkpointed func()
	// failCheckpoint reports whether to fail the current checkpoint.
	failCheckpoint func() bool
}

type fakeOperation struct {
	created    *operationspb.CreateOperationRequest
	attempt    int64
	checkpoint []byte
	done       int64
	total      int64
	unit       string
	saved      int // checkpoints
	cancel     chan struct{}
	finished   *operationspb.FinishOperationRequest
}

func (o *fakeOperation) cancelled() bool {
	select {
	case <-o.cancel:
		return true
	default:
		return false
	}
}

func newFakeOperations() *fakeOperations {
	return &fakeOperations{operations: map[string]*fakeOperation{}}
}

// onCheckpoint sets the function called after each saved checkpoint.
func (o *fakeOperations) onCheckpoint(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checkpointed = f
}

func (o *fakeOperations) get(name string) *fakeOperation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.operations[name]
}

func (o *fakeOperations) CreateOperation(_ context.Context, r *operationspb.CreateOperationRequest) (*operationspb.CreateOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := "operations/" + r.RequestId
	if existing := o.operations[name]; existing == nil {
		o.operations[name] = &fakeOperation{created: proto.CloneOf(r), cancel: make(chan struct{})}
	} else if string(existing.created.Input) != string(r.Input) {
		return nil, status.Error(codes.AlreadyExists, "the request ID is taken")
	}
	return &operationspb.CreateOperationResponse{Operation: &longrunningpb.Operation{Name: name}}, nil
}

func (o *fakeOperations) ClaimOperation(_ context.Context, r *operationspb.ClaimOperationRequest) (*operationspb.ClaimOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	op := o.operations[r.Name]
	if op.finished != nil {
		return &operationspb.ClaimOperationResponse{}, nil
	}
	op.attempt++
	return &operationspb.ClaimOperationResponse{
		Attempt: op.attempt, AccountId: op.created.AccountId, Input: op.created.Input, Checkpoint: op.checkpoint, DoneCount: op.done, TotalCount: op.total,
	}, nil
}

func (o *fakeOperations) ReportOperation(_ context.Context, r *operationspb.ReportOperationRequest) (*operationspb.ReportOperationResponse, error) {
	o.mu.Lock()
	op := o.operations[r.Name]
	if op.attempt != r.Attempt {
		o.mu.Unlock()
		return &operationspb.ReportOperationResponse{Superseded: true}, nil
	}
	if len(r.Checkpoint) > 0 && o.failCheckpoint != nil && o.failCheckpoint() {
		o.mu.Unlock()
		return nil, status.Error(codes.Unavailable, "unavailable")
	}
	op.done, op.total, op.unit = max(op.done, r.DoneCount), r.TotalCount, r.Unit
	checkpointed := o.checkpointed
	if len(r.Checkpoint) == 0 {
		checkpointed = nil
	} else {
		op.checkpoint = r.Checkpoint
		op.saved++
	}
	o.mu.Unlock()
	if checkpointed != nil {
		checkpointed()
	}
	return &operationspb.ReportOperationResponse{CancelRequested: op.cancelled()}, nil
}

func (o *fakeOperations) FinishOperation(_ context.Context, r *operationspb.FinishOperationRequest) (*operationspb.FinishOperationResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	op := o.operations[r.Name]
	if op.attempt != r.Attempt {
		return &operationspb.FinishOperationResponse{Superseded: true}, nil
	}
	op.finished = proto.CloneOf(r)
	return &operationspb.FinishOperationResponse{}, nil
}

func (o *fakeOperations) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest) (*operationspb.AwaitCancellationResponse, error) {
	select {
	case <-o.get(r.Name).cancel:
		return &operationspb.AwaitCancellationResponse{CancelRequested: true}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
