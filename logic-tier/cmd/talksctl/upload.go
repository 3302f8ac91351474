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

// chunkSize is the size of a chunk in one message, in bytes.
const chunkSize = 256 << 10

// uploadCatalogue uploads a catalogue and returns the upload's name. The upload of an
// archive resumes after an interruption. An incomplete upload is deleted.
func uploadCatalogue(ctx context.Context, c *client, source *catalogue, progress func(int64)) (name string, err error) {
	request := &mediapb.CreateUploadRequest{FileName: source.name}
	if source.size > 0 {
		request.Size = &source.size
	}
	created, err := call(ctx, c.media.CreateUpload, request)
	if err != nil {
		return "", readable(err)
	}
	defer func() {
		if err != nil {
			_, _ = call(context.WithoutCancel(ctx), c.media.DeleteUpload, &mediapb.DeleteUploadRequest{Name: created.Upload.Name})
		}
	}()
	upload, err := appendAll(ctx, c, created.Upload.Name, source, progress)
	if err == nil && !upload.Whole {
		_, err = call(ctx, c.media.CompleteUpload, &mediapb.CompleteUploadRequest{Name: upload.Name, Size: upload.Offset})
	}
	if err != nil {
		return "", fmt.Errorf("upload interrupted, nothing was imported; run the import again: %w", readable(err))
	}
	return created.Upload.Name, nil
}

// appendAll sends a catalogue to its end, resuming after transient errors.
func appendAll(ctx context.Context, c *client, name string, source *catalogue, progress func(int64)) (*mediapb.Upload, error) {
	var offset int64
	for lastProgress := time.Now(); ; {
		upload, err := appendFrom(ctx, c, name, offset, source, progress)
		if err == nil || !isTransient(err) || source.size == 0 {
			return upload, err
		}
		// Read from the logic tier at which offset to resume.
		for {
			if time.Since(lastProgress) > retryTimeout || !waitToRetry(ctx) {
				return nil, err
			}
			response, getErr := call(ctx, c.media.GetUpload, &mediapb.GetUploadRequest{Name: name})
			if getErr == nil {
				if upload = response.Upload; upload.Offset > offset {
					lastProgress, offset = time.Now(), upload.Offset
				}
				break
			}
			if !isTransient(getErr) {
				return nil, getErr
			}
		}
		if upload.Whole {
			return upload, nil
		}
	}
}

// appendFrom sends a catalogue from offset on.
func appendFrom(ctx context.Context, c *client, name string, offset int64, source *catalogue, progress func(int64)) (*mediapb.Upload, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	content, err := source.open(offset, progress)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	stream, err := c.media.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	if err := sendChunks(stream, &mediapb.AppendUploadRequest{Name: name, Offset: offset}, content); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// CloseAndRecv returns the server's error if it ended the stream early.
	response, err := stream.CloseAndRecv()
	return response.GetUpload(), err
}

// sendChunks sends content in chunks, the first one with first.
func sendChunks(stream grpc.ClientStreamingClient[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse], first *mediapb.AppendUploadRequest, content io.Reader) error {
	chunk := make([]byte, chunkSize)
	request := first
	for {
		n, err := io.ReadFull(content, chunk)
		request.Data = chunk[:n]
		if n > 0 || request == first {
			// The chunk can be reused: Send has encoded it when it returns.
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
