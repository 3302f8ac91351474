package media

import (
	"errors"
	"io"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// AppendUpload appends the client's bytes to an upload. However the call ends, the bytes
// received so far are committed first.
func (s service) AppendUpload(call grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]) error {
	ctx := call.Context()
	request, err := call.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return apperror.InvalidField("UPLOAD_NOT_SAID", "name", "name the upload in the first message")
	case err != nil:
		return err
	}
	u, err := s.module.authorizedUpload(ctx, request.Name)
	if err != nil {
		return err
	}
	session, waited, err := s.module.appendSessions.acquire(ctx, u.id)
	if err != nil {
		return err
	}
	defer s.module.appendSessions.release(u.id, session)
	if waited { // the superseded call may have appended more
		if u, err = s.module.authorizedUpload(ctx, request.Name); err != nil {
			return err
		}
	}
	a, err := s.module.newUploadAppender(u, request.Offset)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	messages := receive(call, stop)
	for err == nil {
		if err = a.write(ctx, request.Data); err != nil {
			break
		}
		select {
		case m := <-messages:
			request, err = m.request, m.err
		case <-session.superseded:
			err = errSuperseded
		}
	}
	switch commitErr := a.commit(ctx); {
	case !errors.Is(err, io.EOF):
		return err
	case commitErr != nil:
		return commitErr
	}
	return call.SendAndClose(&mediapb.AppendUploadResponse{Upload: a.upload.message()})
}

// ReadFile streams a range of a file, at most a chunk per message. It reads a chunk only
// after the previous one was sent, and holds no database connection while it sends.
func (s service) ReadFile(r *mediapb.ReadFileRequest, call grpc.ServerStreamingServer[mediapb.ReadFileResponse]) error {
	f, err := s.module.authorizedFile(call.Context(), r.Name)
	if err != nil {
		return err
	}
	if r.Offset > f.size {
		return apperror.InvalidField("OFFSET_BEYOND_END", "offset", "use an offset within the file")
	}
	end := f.size
	if r.Limit > 0 && r.Limit < end-r.Offset {
		end = r.Offset + r.Limit
	}
	return s.module.readRange(call.Context(), f.file, r.Offset, end, func(data []byte) error {
		return call.Send(&mediapb.ReadFileResponse{Data: data})
	})
}

// appendMessage is a message of an AppendUpload call, or the error that ends the stream.
type appendMessage struct {
	request *mediapb.AppendUploadRequest
	err     error
}

// receive returns a channel of the messages that the client sends. Closing stop releases
// the goroutine once Recv returns. A stream's Recv cannot be interrupted except by ending
// the call, so the handler selects on the channel instead of calling Recv.
func receive(call grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse], stop <-chan struct{}) <-chan appendMessage {
	messages := make(chan appendMessage)
	go func() {
		for {
			request, err := call.Recv()
			select {
			case messages <- appendMessage{request, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return messages
}
