package transfers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// reading is a file of the media module's as a stream. Not safe for concurrent
// use.
type reading struct {
	ctx  context.Context
	from interface {
		Recv() (*mediapb.ReadFileResponse, error)
	}
	stop func()
	rest []byte
	read int64
	// failed is why the file could not be read on: no fault of what is in it.
	failed error
}

// read opens a file at an offset, for at most limit bytes; 0 means to its end.
// Whoever opens it closes it.
func (m *Module) read(ctx context.Context, file string, offset, limit int64) (*reading, error) {
	ctx, stop := context.WithCancel(ctx)
	stream, err := m.needs.Media.ReadFile(ctx, &mediapb.ReadFileRequest{Name: file, Offset: offset, Limit: limit})
	if err != nil {
		stop()
		return nil, err
	}
	return &reading{ctx: ctx, from: stream, stop: stop}, nil
}

// interrupted returns why nothing more may be read: the context has ended, and
// what was received before only costs time to process.
func (r *reading) interrupted() error {
	if err := r.ctx.Err(); err != nil {
		r.failed = err
	}
	return r.failed
}

func (r *reading) Read(p []byte) (int, error) {
	if err := r.interrupted(); err != nil {
		return 0, err
	}
	for len(r.rest) == 0 {
		answer, err := r.from.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			r.failed = err
			return 0, err
		}
		r.rest = answer.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.read += int64(n)
	return n, nil
}

func (r *reading) close() { r.stop() }

const (
	// pieceSize is how much is read at once of a file that is read here and
	// there: a message's worth.
	pieceSize = 256 << 10
	// maxPieces bounds the pieces that are kept: what an archive's entries lie
	// in, its directory, and some for those out of order.
	maxPieces = 8
	// An archive whose entries are in disorder, or overlap, has the same pieces
	// fetched again and again. It may have this many bytes fetched, and its size
	// so many times: one in order has it fetched once, and the directory twice.
	refetched    = 64 << 20
	refetchRatio = 2
)

var errScattered = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
	"the files of the .zip are stored in another order than its directory lists them, or overlap: pack it again")

// ranges reads a file of the media module's here and there, a piece at a time,
// and keeps the pieces that it read last. Not safe for concurrent use.
type ranges struct {
	ctx    context.Context
	module *Module
	file   string
	size   int64
	pieces []piece // the last one used first
	// budget is how many bytes may still be asked for; negative: any number.
	budget  int64
	fetched int64 // bytes
	failed  error // see reading
}

type piece struct {
	number int64
	data   []byte
}

// errOffset is the error of strings.Reader and its like: archive/zip passes on
// any 64 bits that an archive calls an offset.
var errOffset = errors.New("negative offset")

// ReadAt reads as io.ReaderAt says.
func (r *ranges) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, errOffset
	}
	if err := r.ctx.Err(); err != nil {
		r.failed = err
		return 0, err
	}
	if r.budget >= 0 {
		if r.budget -= int64(len(p)); r.budget < 0 {
			r.failed = errManyFiles
			return 0, errManyFiles
		}
	}
	for n < len(p) {
		at := offset + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		data, err := r.piece(at / pieceSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%pieceSize:])
	}
	return n, nil
}

func (r *ranges) piece(number int64) ([]byte, error) {
	for i, kept := range r.pieces {
		if kept.number == number {
			copy(r.pieces[1:i+1], r.pieces[:i])
			r.pieces[0] = kept
			return kept.data, nil
		}
	}
	length := min(pieceSize, r.size-number*pieceSize)
	if r.fetched += length; r.fetched > refetched+refetchRatio*r.size {
		r.failed = errScattered
		return nil, errScattered
	}
	data, err := r.fetch(number*pieceSize, length)
	if err != nil {
		r.failed = err
		return nil, err
	}
	if len(r.pieces) < maxPieces {
		r.pieces = append(r.pieces, piece{})
	}
	copy(r.pieces[1:], r.pieces)
	r.pieces[0] = piece{number, data}
	return data, nil
}

func (r *ranges) fetch(offset, length int64) ([]byte, error) {
	from, err := r.module.read(r.ctx, r.file, offset, length)
	if err != nil {
		return nil, err
	}
	defer from.close()
	data := make([]byte, length)
	if _, err := io.ReadFull(from, data); err != nil {
		return nil, fmt.Errorf("read %d bytes of %s at %d: %w", length, r.file, offset, err)
	}
	return data, nil
}
