package transfers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// fileReader reads a file of the media module sequentially. Not safe for concurrent use.
type fileReader struct {
	ctx    context.Context
	stream interface {
		Recv() (*mediapb.ReadFileResponse, error)
	}
	cancel    func()
	buffered  []byte
	bytesRead int64
	// failure is the error that stopped reading. It is not caused by the content.
	failure error
}

// openFile opens a file at an offset, for at most limit bytes, or to its end if limit is
// 0. The caller must close it.
func (m *Module) openFile(ctx context.Context, file string, offset, limit int64) (*fileReader, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := m.deps.Media.ReadFile(ctx, &mediapb.ReadFileRequest{Name: file, Offset: offset, Limit: limit})
	if err != nil {
		cancel()
		return nil, err
	}
	return &fileReader{ctx: ctx, stream: stream, cancel: cancel}, nil
}

// checkContext returns an error once the context has ended, even if there is buffered
// data: processing it would only cost time.
func (r *fileReader) checkContext() error {
	if err := r.ctx.Err(); err != nil {
		r.failure = err
	}
	return r.failure
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.checkContext(); err != nil {
		return 0, err
	}
	for len(r.buffered) == 0 {
		response, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			r.failure = err
			return 0, err
		}
		r.buffered = response.Data
	}
	n := copy(p, r.buffered)
	r.buffered = r.buffered[n:]
	r.bytesRead += int64(n)
	return n, nil
}

func (r *fileReader) close() { r.cancel() }

const (
	// blockSize is the unit of random access reads: the content of one message.
	blockSize = 256 << 10
	// maxBlocks bounds the cached blocks: those of the current entry and of the
	// directory, and some for entries out of order.
	maxBlocks = 8
	// An archive whose entries are out of order or overlap makes the same blocks be
	// fetched repeatedly. It can fetch fetchAllowance bytes plus fetchRatio times its
	// size. An archive in order is fetched once, and its directory twice.
	fetchAllowance = 64 << 20
	fetchRatio     = 2
)

var errOutOfOrder = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
	"the entries of the .zip are out of order or overlap; pack it again")

// rangeReader reads a file of the media module at random offsets. It fetches blocks and
// caches the most recently used ones. Not safe for concurrent use.
type rangeReader struct {
	ctx    context.Context
	module *Module
	file   string
	size   int64
	blocks []block // most recently used first
	// budget is the number of bytes that can still be read; negative for no limit.
	budget  int64
	fetched int64 // bytes
	failure error // see fileReader
}

type block struct {
	number int64
	data   []byte
}

// errNegativeOffset corresponds to the error of strings.Reader. archive/zip passes any
// 64-bit value of an archive on as an offset.
var errNegativeOffset = errors.New("negative offset")

// ReadAt implements io.ReaderAt.
func (r *rangeReader) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, errNegativeOffset
	}
	if err := r.ctx.Err(); err != nil {
		r.failure = err
		return 0, err
	}
	if r.budget >= 0 {
		if r.budget -= int64(len(p)); r.budget < 0 {
			r.failure = errTooManyFiles
			return 0, errTooManyFiles
		}
	}
	for n < len(p) {
		position := offset + int64(n)
		if position >= r.size {
			return n, io.EOF
		}
		data, err := r.block(position / blockSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[position%blockSize:])
	}
	return n, nil
}

func (r *rangeReader) block(number int64) ([]byte, error) {
	for i, cached := range r.blocks {
		if cached.number == number {
			copy(r.blocks[1:i+1], r.blocks[:i])
			r.blocks[0] = cached
			return cached.data, nil
		}
	}
	length := min(blockSize, r.size-number*blockSize)
	if r.fetched += length; r.fetched > fetchAllowance+fetchRatio*r.size {
		r.failure = errOutOfOrder
		return nil, errOutOfOrder
	}
	data, err := r.fetch(number*blockSize, length)
	if err != nil {
		r.failure = err
		return nil, err
	}
	if len(r.blocks) < maxBlocks {
		r.blocks = append(r.blocks, block{})
	}
	copy(r.blocks[1:], r.blocks)
	r.blocks[0] = block{number, data}
	return data, nil
}

func (r *rangeReader) fetch(offset, length int64) ([]byte, error) {
	src, err := r.module.openFile(r.ctx, r.file, offset, length)
	if err != nil {
		return nil, err
	}
	defer src.close()
	data := make([]byte, length)
	if _, err := io.ReadFull(src, data); err != nil {
		return nil, fmt.Errorf("read %d bytes of %s at %d: %w", length, r.file, offset, err)
	}
	return data, nil
}
