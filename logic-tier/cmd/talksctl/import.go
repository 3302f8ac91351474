package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// importCatalogue streams a catalogue to the logic tier, and says how far it
// is, which files could not be taken and why, and what came of it.
func importCatalogue(ctx context.Context, connection grpc.ClientConnInterface, name string) error {
	catalogue, err := openCatalogue(name)
	if err != nil {
		return err
	}
	// Sending ends when the server refuses, and the other way round.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := transferspb.NewTransfersClient(connection).ImportCatalogue(ctx)
	if err != nil {
		return explain(err)
	}
	show := newDisplay(os.Stdout, catalogue)
	defer show.end()
	sending := make(chan error, 1)
	go func() {
		err := catalogue.each(ctx, func(f file) error {
			if f.reason != "" {
				show.unsent(f)
				return nil
			}
			return stream.Send(&transferspb.ImportCatalogueRequest{Path: f.path, Content: f.content})
		})
		switch {
		case err == nil:
			err = stream.CloseSend()
		case errors.Is(err, io.EOF):
			err = nil // the server refused; Recv says why
		default:
			cancel()
		}
		sending <- err
	}()

	last := &transferspb.ImportCatalogueResponse_Progress{}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			select {
			case cause := <-sending:
				if cause != nil && !errors.Is(cause, context.Canceled) {
					err = cause
				}
			default:
			}
			return fmt.Errorf("interrupted after %d talks; what is in stays, run it again to go on: %w", last.TalksCreated+last.TalksPresent, explain(err))
		}
		last = response.Progress
		for _, r := range response.Rejections {
			show.rejected(r.Path, r.Reason)
		}
		show.progress(last)
	}
	err = <-sending
	show.result(last)
	return err
}

// explain returns what a status says, without the words of the protocol.
func explain(err error) error {
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("%s (%s)", s.Message(), s.Code())
	}
	return err
}
