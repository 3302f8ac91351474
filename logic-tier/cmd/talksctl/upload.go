package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// sendSize is how much is sent in one message.
const sendSize = 256 << 10

// send makes an upload of a catalogue, and returns its name. An archive goes on
// where it was interrupted. What does not become whole is removed.
func send(ctx context.Context, c *client, from *catalogue, done func(int64)) (name string, err error) {
	request := &mediapb.CreateUploadRequest{FileName: from.name}
	if from.size > 0 {
		request.Size = &from.size
	}
	made, err := call(ctx, c.media.CreateUpload, request)
	if err != nil {
		return "", explain(err)
	}
	defer func() {
		if err != nil {
			_, _ = call(context.WithoutCancel(ctx), c.media.DeleteUpload, &mediapb.DeleteUploadRequest{Name: made.Upload.Name})
		}
	}()
	is, err := appendAll(ctx, c, made.Upload.Name, from, done)
	if err == nil && !is.Whole {
		_, err = call(ctx, c.media.CompleteUpload, &mediapb.CompleteUploadRequest{Name: is.Name, Size: is.Offset})
	}
	if err != nil {
		return "", fmt.Errorf("interrupted while it was sent; nothing is in yet, run it again: %w", explain(err))
	}
	return made.Upload.Name, nil
}

// appendAll sends a catalogue to its end.
func appendAll(ctx context.Context, c *client, name string, from *catalogue, done func(int64)) (*mediapb.Upload, error) {
	var offset int64
	for since := time.Now(); ; {
		is, err := appendFrom(ctx, c, name, offset, from, done)
		if err == nil || !interrupted(err) || from.size == 0 {
			return is, err
		}
		// How much has arrived, and from where to go on?
		for {
			if time.Since(since) > patience || !rest(ctx) {
				return nil, err
			}
			answer, asked := call(ctx, c.media.GetUpload, &mediapb.GetUploadRequest{Name: name})
			if asked == nil {
				if is = answer.Upload; is.Offset > offset {
					since, offset = time.Now(), is.Offset
				}
				break
			}
			if !interrupted(asked) {
				return nil, asked
			}
		}
		if is.Whole {
			return is, nil
		}
	}
}

// appendFrom sends a catalogue from an offset on.
func appendFrom(ctx context.Context, c *client, name string, offset int64, from *catalogue, done func(int64)) (*mediapb.Upload, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	content, err := from.open(offset, done)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	stream, err := c.media.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	if err := sendAll(stream, &mediapb.AppendUploadRequest{Name: name, Offset: offset}, content); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// After a refusal, too, the answer is here.
	answer, err := stream.CloseAndRecv()
	return answer.GetUpload(), err
}

// sendAll sends all that content has, the first piece with first.
func sendAll(stream grpc.ClientStreamingClient[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse], first *mediapb.AppendUploadRequest, content io.Reader) error {
	piece := make([]byte, sendSize)
	request := first
	for {
		n, err := io.ReadFull(content, piece)
		request.Data = piece[:n]
		if n > 0 || request == first {
			// Send has encoded the piece when it returns.
			if err := stream.Send(request); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
		request = &mediapb.AppendUploadRequest{}
	}
}
