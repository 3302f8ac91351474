package uploads

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// append adds what body has at the end of an upload, a piece at a time, and
// returns the upload as it is then. When body breaks, what came of it is kept,
// and the error is cutOff: the upload is returned as well then.
//
// The call outlives the request: a browser that vanishes must not take with it
// what has arrived already.
func (u *Uploads) append(ctx context.Context, name string, offset int64, body io.Reader, alive func()) (*mediapb.Upload, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	stalled := time.AfterFunc(patience+stallTimeout, stop)
	defer stalled.Stop()
	stream, err := u.media.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	broken, err := pass(stream, &mediapb.AppendUploadRequest{Name: name, Offset: offset}, body, func() {
		stalled.Reset(patience + stallTimeout)
		alive()
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// After io.EOF the answer says what is wrong.
	stalled.Reset(finishTimeout)
	answer, err := stream.CloseAndRecv()
	if err == nil && broken {
		err = cutOff
	}
	return answer.GetUpload(), err
}

// pass sends body in pieces; the first message says where they go. broken says
// that body did not come to its end.
func pass(stream mediapb.Media_AppendUploadClient, message *mediapb.AppendUploadRequest, body io.Reader, alive func()) (broken bool, err error) {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for first := true; ; first = false {
		n, ended := fill(body, piece[:], alive)
		if n > 0 || first {
			message.Data = piece[:n]
			if err := stream.Send(message); err != nil {
				return false, err
			}
			message = &mediapb.AppendUploadRequest{}
		}
		if ended != nil {
			return !errors.Is(ended, io.EOF), nil
		}
	}
}

// fill reads until piece is full or body ends, calling alive before each wait.
func fill(body io.Reader, piece []byte, alive func()) (n int, err error) {
	for n < len(piece) && err == nil {
		alive()
		var more int
		more, err = body.Read(piece[n:])
		n += more
	}
	return n, err
}
