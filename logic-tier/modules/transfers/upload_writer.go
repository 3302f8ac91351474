package transfers

import (
	"context"
	"fmt"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// chunkSize is the size of one AppendUpload message.
const chunkSize = 256 << 10

// uploadWriter writes to an upload. It does not send again what the upload already
// contains from an interrupted worker. Not safe for concurrent use.
type uploadWriter struct {
	media mediapb.MediaClient
	name  string
	// offset is the position of the next write; stored is the upload's size. Writes
	// below stored are skipped.
	offset, stored int64

	stream appendStream
	stop   func()
	buffer []byte
}

// appendStream is the client side of AppendUpload.
type appendStream interface {
	Send(*mediapb.AppendUploadRequest) error
	CloseAndRecv() (*mediapb.AppendUploadResponse, error)
}

func (w *uploadWriter) write(ctx context.Context, p []byte) error {
	if skip := min(int64(len(p)), w.stored-w.offset); skip > 0 {
		p = p[skip:]
		w.offset += skip
	}
	for len(p) > 0 {
		n := min(len(p), chunkSize-len(w.buffer))
		w.buffer = append(w.buffer, p[:n]...)
		p = p[n:]
		w.offset += int64(n)
		if len(w.buffer) == chunkSize {
			if err := w.send(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *uploadWriter) send(ctx context.Context) error {
	if len(w.buffer) == 0 {
		return nil
	}
	request := &mediapb.AppendUploadRequest{Data: w.buffer}
	if w.stream == nil {
		ctx, stop := context.WithCancel(ctx)
		stream, err := w.media.AppendUpload(ctx)
		if err != nil {
			stop()
			return err
		}
		w.stream, w.stop = stream, stop
		request.Name, request.Offset = w.name, w.stored
	}
	if err := w.stream.Send(request); err != nil {
		// Send returns io.EOF; the response has the actual error.
		_, err = w.closeAndRecv()
		return err
	}
	// gRPC may still be sending the old buffer.
	w.buffer = make([]byte, 0, chunkSize)
	return nil
}

// flush sends the buffered bytes and waits until they are stored.
func (w *uploadWriter) flush(ctx context.Context) error {
	if err := w.send(ctx); err != nil || w.stream == nil {
		return err
	}
	upload, err := w.closeAndRecv()
	switch {
	case err != nil:
		return err
	case upload.Offset != w.offset:
		return fmt.Errorf("%s has %d bytes, want %d", w.name, upload.Offset, w.offset)
	}
	w.stored = upload.Offset
	return nil
}

// closeAndRecv ends the stream and returns the upload.
func (w *uploadWriter) closeAndRecv() (*mediapb.Upload, error) {
	defer w.close()
	response, err := w.stream.CloseAndRecv()
	if err == nil && response.Upload == nil {
		err = fmt.Errorf("%s: the response has no upload", w.name)
	}
	return response.GetUpload(), err
}

// skipToEnd continues after what the upload contains, which stays unused.
func (w *uploadWriter) skipToEnd() { w.offset = max(w.offset, w.stored) }

func (w *uploadWriter) close() {
	if w.stream != nil {
		w.stop()
		w.stream = nil
	}
}
