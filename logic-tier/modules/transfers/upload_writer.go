package transfers

import (
	"context"
	"fmt"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// sendSize is how much is sent in one message.
const sendSize = 256 << 10

// sending writes an upload. What the upload has already, from a worker that was
// stopped, is not sent again. Not safe for concurrent use.
type sending struct {
	media mediapb.MediaClient
	name  string
	// at is where the next byte belongs; have is what the upload has. While at is
	// behind, what is written is there already.
	at, have int64

	stream appending
	stop   func()
	buffer []byte
}

// appending is the stream of AppendUpload.
type appending interface {
	Send(*mediapb.AppendUploadRequest) error
	CloseAndRecv() (*mediapb.AppendUploadResponse, error)
}

func (s *sending) write(ctx context.Context, p []byte) error {
	if skip := min(int64(len(p)), s.have-s.at); skip > 0 {
		p = p[skip:]
		s.at += skip
	}
	for len(p) > 0 {
		n := min(len(p), sendSize-len(s.buffer))
		s.buffer = append(s.buffer, p[:n]...)
		p = p[n:]
		s.at += int64(n)
		if len(s.buffer) == sendSize {
			if err := s.send(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sending) send(ctx context.Context) error {
	if len(s.buffer) == 0 {
		return nil
	}
	request := &mediapb.AppendUploadRequest{Data: s.buffer}
	if s.stream == nil {
		ctx, stop := context.WithCancel(ctx)
		stream, err := s.media.AppendUpload(ctx)
		if err != nil {
			stop()
			return err
		}
		s.stream, s.stop = stream, stop
		request.Name, request.Offset = s.name, s.have
	}
	if err := s.stream.Send(request); err != nil {
		// Why, the answer says.
		_, err = s.answer()
		return err
	}
	// The message may still be on its way.
	s.buffer = make([]byte, 0, sendSize)
	return nil
}

// settle sends what is left and waits until the upload has it.
func (s *sending) settle(ctx context.Context) error {
	if err := s.send(ctx); err != nil || s.stream == nil {
		return err
	}
	is, err := s.answer()
	switch {
	case err != nil:
		return err
	case is.Offset != s.at:
		return fmt.Errorf("%s has %d bytes after %d were sent", s.name, is.Offset, s.at)
	}
	s.have = is.Offset
	return nil
}

func (s *sending) answer() (*mediapb.Upload, error) {
	defer s.close()
	answer, err := s.stream.CloseAndRecv()
	if err == nil && answer.Upload == nil {
		err = fmt.Errorf("%s: the answer names no upload", s.name)
	}
	return answer.GetUpload(), err
}

// forward goes to where the upload ends: what lies before it stays unused.
func (s *sending) forward() { s.at = max(s.at, s.have) }

func (s *sending) close() {
	if s.stream != nil {
		s.stop()
		s.stream = nil
	}
}
