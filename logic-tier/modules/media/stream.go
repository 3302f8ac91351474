package media

import (
	"errors"
	"io"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/apperror"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// AppendUpload adds bytes; see the contract. However it ends, what was taken is
// committed first.
func (s service) AppendUpload(call grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]) error {
	ctx := call.Context()
	request, err := call.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return apperror.InvalidField("UPLOAD_NOT_SAID", "name", "say in the first message which upload to append to")
	case err != nil:
		return err
	}
	u, err := s.module.uploadFor(ctx, request.Name)
	if err != nil {
		return err
	}
	own, waited, err := s.module.appenders.take(ctx, u.id)
	if err != nil {
		return err
	}
	defer s.module.appenders.leave(u.id, own)
	if waited { // the upload ends where the other request left it
		if u, err = s.module.uploadFor(ctx, request.Name); err != nil {
			return err
		}
	}
	a, err := s.module.appendTo(u, request.Offset)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	messages := receive(call, stop)
	for err == nil {
		if err = a.add(ctx, request.Data); err != nil {
			break
		}
		select {
		case next := <-messages:
			request, err = next.request, next.err
		case <-own.superseded:
			err = errSuperseded
		}
	}
	switch kept := a.commit(ctx); {
	case !errors.Is(err, io.EOF):
		return err
	case kept != nil:
		return kept
	}
	return call.SendAndClose(&mediapb.AppendUploadResponse{Upload: a.upload.message()})
}

// ReadFile gives bytes piece by piece; see the contract. A piece is read when
// the one before it is on its way: between the two nothing is held.
func (s service) ReadFile(r *mediapb.ReadFileRequest, call grpc.ServerStreamingServer[mediapb.ReadFileResponse]) error {
	f, err := s.module.fileFor(call.Context(), r.Name)
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
	return s.module.pieces(call.Context(), f.file, r.Offset, end, func(piece []byte) error {
		return call.Send(&mediapb.ReadFileResponse{Data: piece})
	})
}

// appended is one message of AppendUpload, or how the messages end.
type appended struct {
	request *mediapb.AppendUploadRequest
	err     error
}

// receive returns the messages that the client sends, until stop is closed. A stream's
// Recv cannot be interrupted otherwise than by ending the call.
func receive(call grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse], stop <-chan struct{}) <-chan appended {
	messages := make(chan appended)
	go func() {
		for {
			request, err := call.Recv()
			select {
			case messages <- appended{request, err}:
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
