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

// reader is the io.ReadSeeker of a file for http.ServeContent. It opens a stream on the first
// Read after a Seek, so that seeking is free.
type reader struct {
	ctx   context.Context
	media mediapb.MediaClient
	file  *mediapb.File

	// mu guards the fields below: slowWriter calls park from a timer.
	mu        sync.Mutex
	offset    int64                        // of the next Read
	chunk     []byte                       // received but not read
	readAhead int64                        // bytes that the next stream requests
	stream    mediapb.Media_ReadFileClient // nil if none is open
	streamEnd int64                        // offset
	cancel    context.CancelFunc           // closes stream
	err       error                        // of the last failed Read
}

func newReader(ctx context.Context, media mediapb.MediaClient, file *mediapb.File) *reader {
	return &reader{ctx: ctx, media: media, file: file, readAhead: initialReadAhead}
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.file.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to negative offset %d", offset)
	}
	if offset != r.offset {
		r.closeStream()
	}
	r.offset = offset
	return offset, nil
}

// Read implements io.Reader. It reopens a stream that fails with Unavailable: files are
// immutable, so reading can resume at the same offset.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offset >= r.file.Size {
		return 0, io.EOF
	}
	if err := r.fetch(); err != nil {
		r.err = err
		return 0, err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	r.offset += int64(n)
	return n, nil
}

// fetch blocks until chunk is not empty.
func (r *reader) fetch() error {
	for retries := 0; len(r.chunk) == 0; retries++ {
		err := r.receive()
		if err == nil {
			continue
		}
		r.closeStream()
		if status.Code(err) != codes.Unavailable || retries >= maxRetries {
			return err
		}
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-time.After(time.Duration(retries+1) * retryPause):
		}
	}
	return nil
}

// receive receives the next chunk, and opens a stream if necessary. At the end of a stream it
// leaves chunk empty.
func (r *reader) receive() error {
	if r.stream == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		stream, err := r.media.ReadFile(ctx, &mediapb.ReadFileRequest{Name: r.file.Name, Offset: r.offset, Limit: r.readAhead})
		if err != nil {
			cancel()
			return err
		}
		r.stream, r.cancel, r.streamEnd = stream, cancel, r.offset+r.readAhead
	}
	response, err := r.stream.Recv()
	if errors.Is(err, io.EOF) && r.offset == r.streamEnd {
		r.closeStream()
		r.readAhead = min(4*r.readAhead, maxReadAhead)
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: stream ended at byte %d of %d", r.file.Name, r.offset, r.file.Size)
	}
	r.chunk = response.GetData()
	return err
}

// park closes the stream and drops the read-ahead buffer. The next Read opens a new stream at
// the current offset.
func (r *reader) park() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeStream()
	r.readAhead = parkedReadAhead
}

// closeStream closes the stream, if any, and drops the received chunk.
func (r *reader) closeStream() {
	if r.stream != nil {
		r.cancel()
		r.stream, r.chunk, r.cancel = nil, nil, nil
	}
}
