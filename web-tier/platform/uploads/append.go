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
func (u *Uploads) append(ctx context.Context, name string, offset int64, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	stalled := time.AfterFunc(patience+stallTimeout, stop)
	defer stalled.Stop()
	stream, err := u.media.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	// The logic tier may answer while the client still sends, when the upload is refused
	// or a newer request appends to it. Then the client is not waited for any longer.
	var reading deadline
	answered := make(chan error, 1)
	answer := &mediapb.AppendUploadResponse{}
	go func() {
		err := stream.RecvMsg(answer)
		reading.cut(extend)
		answered <- err
	}()
	broken := pass(stream, &mediapb.AppendUploadRequest{Name: name, Offset: offset}, body, func() {
		stalled.Reset(patience + stallTimeout)
		reading.extend(extend)
	})
	reading.end()
	stalled.Reset(finishTimeout)
	_ = stream.CloseSend() // what went wrong is in the answer
	if err = <-answered; err == nil && broken {
		err = cutOff
	}
	return answer.GetUpload(), err
}

// deadline is until when a body is read.
type deadline struct {
	mu    sync.Mutex
	ended bool // it is not moved any more
}

func (d *deadline) extend(by func(time.Duration)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		by(patience)
	}
}

// cut leaves the client a moment, in which a small body arrives.
func (d *deadline) cut(by func(time.Duration)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		by(answeredPatience)
	}
	d.ended = true
}

func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
}

// pass sends body in pieces, until it ends or the stream does. The first message says
// where they go, at once: the logic tier ends an older request that appends to the same
// upload. broken reports that body did not come to its end.
func pass(stream mediapb.Media_AppendUploadClient, first *mediapb.AppendUploadRequest, body io.Reader, progress func()) (broken bool) {
	if stream.Send(first) != nil {
		return false
	}
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for {
		n, ended := fill(body, piece[:], progress)
		if n > 0 && stream.Send(&mediapb.AppendUploadRequest{Data: piece[:n]}) != nil {
			return false
		}
		if ended != nil {
			return !errors.Is(ended, io.EOF)
		}
	}
}

// fill reads until piece is full or body ends. It calls progress when it begins to wait
// for bytes, and again for every minProgress that came.
func fill(body io.Reader, piece []byte, progress func()) (n int, err error) {
	for due := 0; n < len(piece) && err == nil; {
		if n >= due {
			progress()
			due = n + minProgress
		}
		var more int
		more, err = body.Read(piece[n:])
		n += more
	}
	return n, err
}
