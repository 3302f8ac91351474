package downloads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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

	// mu guards what follows: park is called while nobody reads.
	mu     sync.Mutex
	at     int64
	piece  []byte // what was received and not read yet
	ahead  int64  // how many bytes the next stream is asked for
	end    int64  // where stream ends
	stream mediapb.Media_ReadFileClient
	close  context.CancelFunc // of stream
	failed error
}

func newReader(ctx context.Context, media mediapb.MediaClient, file *mediapb.File) *reader {
	return &reader{ctx: ctx, media: media, file: file, ahead: firstAhead}
}

// Seek says from where to read on.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
	r.mu.Lock()
	defer r.mu.Unlock()
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
		stream, err := r.media.ReadFile(ctx, &mediapb.ReadFileRequest{Name: r.file.Name, Offset: r.at, Limit: r.ahead})
		if err != nil {
			closeStream()
			return err
		}
		r.stream, r.close, r.end = stream, closeStream, r.at+r.ahead
	}
	answer, err := r.stream.Recv()
	if errors.Is(err, io.EOF) && r.at == r.end {
		r.drop()
		r.ahead = min(4*r.ahead, maxAhead)
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s ends at byte %d of %d", r.file.Name, r.at, r.file.Size)
	}
	r.piece = answer.GetData()
	return err
}

// park drops what was read ahead. The next Read opens another stream where this one was.
func (r *reader) park() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	r.ahead = parkedAhead
}

// drop ends the stream: what comes next is somewhere else, or comes later.
func (r *reader) drop() {
	if r.stream != nil {
		r.close()
		r.stream, r.piece, r.close = nil, nil, nil
	}
}
