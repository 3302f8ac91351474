package uploads

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// append appends body to an upload in chunks, and returns the resulting upload. If reading body
// fails, the bytes received so far are stored, and append returns the upload together with
// errInterrupted.
//
// The gRPC call outlives the HTTP request, so that a client that disconnects does not lose the
// bytes that have arrived.
func (u *Uploads) append(ctx context.Context, name string, offset int64, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stallTimer := time.AfterFunc(readTimeout+stallTimeout, cancel)
	defer stallTimer.Stop()
	stream, err := u.media.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	// The logic tier can respond while the client is still sending, if it rejects the upload
	// or a newer request appends to it. The rest of the body is then not waited for.
	var deadline readDeadline
	received := make(chan error, 1)
	response := &mediapb.AppendUploadResponse{}
	go func() {
		err := stream.RecvMsg(response)
		deadline.shorten(extend)
		received <- err
	}()
	interrupted := forward(stream, &mediapb.AppendUploadRequest{Name: name, Offset: offset}, body, func() {
		stallTimer.Reset(readTimeout + stallTimeout)
		deadline.extend(extend)
	})
	deadline.freeze()
	stallTimer.Reset(finishTimeout)
	_ = stream.CloseSend() // an error shows in the response
	if err = <-received; err == nil && interrupted {
		err = errInterrupted
	}
	return response.GetUpload(), err
}

// readDeadline guards the read deadline of a request body. Once it is frozen, it does not move.
type readDeadline struct {
	mu     sync.Mutex
	frozen bool
}

// extend allows the client readTimeout for more bytes. It calls set unless the deadline is frozen.
func (d *readDeadline) extend(set func(time.Duration)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		set(readTimeout)
	}
}

// shorten allows the client respondedReadTimeout, in which a small body can still arrive, and
// freezes the deadline.
func (d *readDeadline) shorten(set func(time.Duration)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		set(respondedReadTimeout)
	}
	d.frozen = true
}

func (d *readDeadline) freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = true
}

// forward sends body in chunks until body or stream ends. It sends the first message, with
// the upload and the offset, at once: the logic tier then ends an older request that appends
// to the same upload. forward reports whether reading body failed before its end.
func forward(stream mediapb.Media_AppendUploadClient, first *mediapb.AppendUploadRequest, body io.Reader, onProgress func()) (interrupted bool) {
	if stream.Send(first) != nil {
		return false
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(chunk)
	for {
		n, err := readChunk(body, chunk[:], onProgress)
		if n > 0 && stream.Send(&mediapb.AppendUploadRequest{Data: chunk[:n]}) != nil {
			return false
		}
		if err != nil {
			return !errors.Is(err, io.EOF)
		}
	}
}

// readChunk reads until chunk is full or body ends. It calls onProgress before the first read
// and after every minProgress bytes.
func readChunk(body io.Reader, chunk []byte, onProgress func()) (n int, err error) {
	for next := 0; n < len(chunk) && err == nil; {
		if n >= next {
			onProgress()
			next = n + minProgress
		}
		var read int
		read, err = body.Read(chunk[n:])
		n += read
	}
	return n, err
}
