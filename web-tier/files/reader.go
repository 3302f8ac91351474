package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// reader reads a file from anywhere, as http.ServeContent does: seek, then read
// on. A stream is opened when something is read, so that seeking costs nothing.
type reader struct {
	ctx   context.Context
	media mediapb.MediaClient
	file  *mediapb.File

	at     int64
	piece  []byte // what was received and not read yet
	stream mediapb.Media_ReadFileClient
	close  context.CancelFunc // of stream
	failed error
}

func newReader(ctx context.Context, media mediapb.MediaClient, file *mediapb.File) *reader {
	return &reader{ctx: ctx, media: media, file: file}
}

// Seek says from where to read on.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.file.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	if offset != r.at {
		r.drop()
	}
	r.at = offset
	return offset, nil
}

// Read reads on. What breaks for a moment is taken up again: the bytes of a file
// are always the same.
func (r *reader) Read(into []byte) (int, error) {
	if r.at >= r.file.Size {
		return 0, io.EOF
	}
	if err := r.fetch(); err != nil {
		r.failed = err
		return 0, err
	}
	n := copy(into, r.piece)
	r.piece = r.piece[n:]
	r.at += int64(n)
	return n, nil
}

// fetch waits until something of the file is there.
func (r *reader) fetch() error {
	for reopened := 0; len(r.piece) == 0; reopened++ {
		err := r.receive()
		if err == nil {
			continue
		}
		r.drop()
		if status.Code(err) != codes.Unavailable || reopened >= maxReopened {
			return err
		}
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-time.After(time.Duration(reopened+1) * reopenPause):
		}
	}
	return nil
}

func (r *reader) receive() error {
	if r.stream == nil {
		ctx, closeStream := context.WithCancel(r.ctx)
		stream, err := r.media.ReadFile(ctx, &mediapb.ReadFileRequest{Name: r.file.Name, Offset: r.at})
		if err != nil {
			closeStream()
			return err
		}
		r.stream, r.close = stream, closeStream
	}
	answer, err := r.stream.Recv()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s ends at byte %d of %d", r.file.Name, r.at, r.file.Size)
	}
	r.piece = answer.GetData()
	return err
}

// drop ends the stream: what comes next is somewhere else.
func (r *reader) drop() {
	if r.stream != nil {
		r.close()
		r.stream, r.piece = nil, nil
	}
}
