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

// Pieces of the stand-in's answers, as large as the contract allows.
const pieceSize = 256 << 10

// Changed is when every file of the stand-in was last changed.
var Changed = time.Unix(1_700_000_000, 0).UTC()

// Bytes is a stand-in for the logic tier's media: it keeps bytes in memory.
type Bytes struct {
	mu      sync.Mutex
	uploads map[string]*upload
	files   map[string]*mediapb.File
	content map[string][]byte
	refuse  map[string]error
	begun   int
	// Breaks is how often reading a file ends as if the tier restarted, in the
	// midst of it.
	breaks int
	reads  []*mediapb.ReadFileRequest
}

type upload struct {
	*mediapb.Upload
	appends grpc.ServerStream // the newest
	owner   string
	want    string
	bytes   []byte
}

// KeepBytes has the stand-in keep uploads and files from now on.
func KeepBytes(t *Tier) *Bytes {
	b := &Bytes{uploads: map[string]*upload{}, files: map[string]*mediapb.File{}, content: map[string][]byte{}, refuse: map[string]error{}}
	Answer(t, mediapb.Media_CreateUpload_FullMethodName, b.create)
	Answer(t, mediapb.Media_GetUpload_FullMethodName, func(ctx context.Context, r *mediapb.GetUploadRequest) (*mediapb.GetUploadResponse, error) {
		u, err := b.upload(ctx, r.Name)
		return &mediapb.GetUploadResponse{Upload: u}, err
	})
	Answer(t, mediapb.Media_CompleteUpload_FullMethodName, b.complete)
	Answer(t, mediapb.Media_DeleteUpload_FullMethodName, func(ctx context.Context, r *mediapb.DeleteUploadRequest) (*mediapb.DeleteUploadResponse, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.uploads, r.Name)
		return &mediapb.DeleteUploadResponse{}, nil
	})
	Answer(t, mediapb.Media_GetFile_FullMethodName, func(_ context.Context, r *mediapb.GetFileRequest) (*mediapb.GetFileResponse, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if file := b.files[r.Name]; file != nil {
			return &mediapb.GetFileResponse{File: file}, nil
		}
		return nil, Refusal(codes.NotFound, "FILE_NOT_FOUND", "there is no such file")
	})
	t.Stream(mediapb.Media_AppendUpload_FullMethodName, b.append)
	t.Stream(mediapb.Media_ReadFile_FullMethodName, b.read)
	return b
}

// Add adds a file.
func (b *Bytes) Add(name, contentType, fileName string, content []byte) *mediapb.File {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := sha256.Sum256(content)
	b.content[name] = content
	b.files[name] = &mediapb.File{
		Name: name, Size: int64(len(content)), ContentType: contentType, Sha256: hex.EncodeToString(sum[:]),
		FileName: fileName, UpdateTime: timestamppb.New(Changed),
	}
	return b.files[name]
}

// Refuse answers what is appended to any upload with err from now on.
func (b *Bytes) Refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse["append"] = err
}

// BreakReads has the next reads of files break in their midst, so many.
func (b *Bytes) BreakReads(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.breaks = n
}

// Upload returns an upload and what has arrived of it; nil when it is not there.
func (b *Bytes) Upload(name string) (*mediapb.Upload, []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.uploads[name]
	if u == nil {
		return nil, nil
	}
	return proto.CloneOf(u.Upload), bytes.Clone(u.bytes)
}

// Uploads returns how many uploads there are.
func (b *Bytes) Uploads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.uploads)
}

// Reads returns where reading files began so far.
func (b *Bytes) Reads() []*mediapb.ReadFileRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*mediapb.ReadFileRequest(nil), b.reads...)
}

func (b *Bytes) create(ctx context.Context, r *mediapb.CreateUploadRequest) (*mediapb.CreateUploadResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun++
	u := &upload{owner: one(ctx, transport.SessionKey), want: r.Sha256, Upload: &mediapb.Upload{
		Name: fmt.Sprintf("uploads/upload%d", b.begun), Size: r.Size, FileName: r.FileName, ContentType: r.ContentType,
		ExpireTime: timestamppb.New(Changed.Add(7 * 24 * time.Hour)),
	}}
	b.uploads[u.Name] = u
	return &mediapb.CreateUploadResponse{Upload: proto.CloneOf(u.Upload)}, nil
}

func (b *Bytes) find(ctx context.Context, name string) (*upload, error) {
	u := b.uploads[name]
	if u == nil || u.owner != one(ctx, transport.SessionKey) {
		return nil, Refusal(codes.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload of yours")
	}
	return u, nil
}

func (b *Bytes) upload(ctx context.Context, name string) (*mediapb.Upload, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(u.Upload), nil
}

func (b *Bytes) complete(ctx context.Context, r *mediapb.CompleteUploadRequest) (*mediapb.CompleteUploadResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := b.find(ctx, r.Name)
	switch {
	case err != nil:
		return nil, err
	case u.Offset != r.Size:
		return nil, Refusal(codes.Aborted, "OFFSET_MISMATCH", "the upload ends elsewhere")
	}
	return &mediapb.CompleteUploadResponse{Upload: proto.CloneOf(u.Upload)}, b.end(u)
}

// end makes an upload whole.
func (b *Bytes) end(u *upload) error {
	sum := sha256.Sum256(u.bytes)
	u.Whole, u.Sha256 = true, hex.EncodeToString(sum[:])
	if u.want != "" && u.want != u.Sha256 {
		delete(b.uploads, u.Name)
		return Refusal(codes.InvalidArgument, "CHECKSUM_MISMATCH", "the bytes are not those of the checksum; send the file again")
	}
	return nil
}

func (b *Bytes) append(stream grpc.ServerStream) error {
	var u *upload
	for first := true; ; first = false {
		r := &mediapb.AppendUploadRequest{}
		err := stream.RecvMsg(r)
		if errors.Is(err, io.EOF) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return stream.SendMsg(&mediapb.AppendUploadResponse{Upload: proto.CloneOf(u.Upload)})
		}
		if err != nil {
			return err
		}
		b.mu.Lock()
		if first {
			if u, err = b.begin(stream.Context(), r); err == nil {
				u.appends = stream
			}
		} else if u.appends != stream {
			err = Refusal(codes.Aborted, "UPLOAD_SUPERSEDED", "a newer request appends to the upload")
		}
		if err == nil {
			err = b.add(u, r.Data)
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (b *Bytes) begin(ctx context.Context, r *mediapb.AppendUploadRequest) (*upload, error) {
	u, err := b.find(ctx, r.Name)
	if err == nil && u.Offset != r.Offset {
		err = Refusal(codes.Aborted, "OFFSET_MISMATCH", "the upload ends elsewhere")
	}
	return u, err
}

func (b *Bytes) add(u *upload, data []byte) error {
	switch {
	case b.refuse["append"] != nil:
		return b.refuse["append"]
	case len(data) > pieceSize:
		return Refusal(codes.InvalidArgument, "PIECE_TOO_LARGE", "send at most 256 KiB at a time")
	case u.Size != nil && u.Offset+int64(len(data)) > *u.Size:
		return Refusal(codes.InvalidArgument, "UPLOAD_TOO_LONG", "there are more bytes than the upload may have")
	}
	u.bytes = append(u.bytes, data...)
	u.Offset = int64(len(u.bytes))
	if u.Size != nil && u.Offset == *u.Size && !u.Whole {
		return b.end(u)
	}
	return nil
}

func (b *Bytes) read(stream grpc.ServerStream) error {
	r := &mediapb.ReadFileRequest{}
	if err := stream.RecvMsg(r); err != nil {
		return err
	}
	b.mu.Lock()
	b.reads = append(b.reads, r)
	content, known := b.content[r.Name]
	breaks := b.breaks > 0
	if breaks {
		b.breaks--
	}
	b.mu.Unlock()
	if !known {
		return Refusal(codes.NotFound, "FILE_NOT_FOUND", "there is no such file")
	}
	rest := content[r.Offset:]
	if r.Limit > 0 && r.Limit < int64(len(rest)) {
		rest = rest[:r.Limit]
	}
	for len(rest) > 0 {
		n := min(pieceSize, len(rest))
		if breaks {
			n = min(1000, n)
		}
		if err := stream.SendMsg(&mediapb.ReadFileResponse{Data: rest[:n]}); err != nil {
			return err
		}
		if rest = rest[n:]; breaks {
			return Refusal(codes.Unavailable, "DRAINING", "the server stops")
		}
	}
	return nil
}
