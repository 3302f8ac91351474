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
	unsent := make(chan []file, 1)
	sending := make(chan error, 1)
	go func() {
		var passedOver []file
		err := catalogue.each(ctx, func(f file) error {
			if f.reason != "" {
				passedOver = append(passedOver, f)
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
		unsent <- passedOver
		sending <- err
	}()

	show := newDisplay(os.Stdout, catalogue)
	last := &transferspb.ImportCatalogueResponse_Progress{}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			show.end()
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
	passedOver := <-unsent
	for _, f := range passedOver {
		show.rejected(f.path, f.reason)
	}
	show.end()
	fmt.Printf("%d files: %d channels and %d talks added, %d talks there already, %d files not taken, %d passed over\n",
		last.Files+int64(len(passedOver)), last.ChannelsCreated, last.TalksCreated, last.TalksPresent, last.Rejected+int64(len(passedOver)), last.Ignored)
	return <-sending
}

// explain returns what a status says, without the words of the protocol.
func explain(err error) error {
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("%s (%s)", s.Message(), s.Code())
	}
	return err
}
