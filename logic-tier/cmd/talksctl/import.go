package main

import (
	"context"
	"fmt"
	"os"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/proto/transport"
)

// importCatalogue sends a catalogue to the logic tier and has it imported; then it
// follows that, and says which files could not be taken and why, and what came of
// it.
func importCatalogue(ctx context.Context, c *client, name string, detach bool) error {
	show := newDisplay(os.Stdout)
	defer show.end()
	from, err := openCatalogue(name, show.unsent)
	if err != nil {
		return err
	}
	upload, err := send(ctx, c, from, func(done int64) { show.progress("sending", done, from.total, from.unit) })
	if err != nil {
		return err
	}
	show.end()
	begun, err := call(ctx, c.transfers.ImportCatalogue, &transferspb.ImportCatalogueRequest{Upload: upload, RequestId: transport.NewRequestID()})
	if err != nil {
		return explain(err)
	}
	fmt.Println(begun.Name)
	if detach {
		return nil
	}
	is, err := follow(ctx, c, begun.Name, show.operation)
	if err != nil {
		return err
	}
	show.end()
	return conclude(ctx, c, is, show)
}
